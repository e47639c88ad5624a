"""The loss of a task."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.nn import functional

from gluelamp.methods.adaptation import TaskLoss
from gluelamp.tasks.task import Task


def task_loss(task: Task, labels: Tensor) -> TaskLoss:
    """Return the mean loss over a batch, as a function of the head's outputs.

    Args:
        task: regression has the squared error, classification the cross-entropy.
        labels: (batch,) scores or numbers of classes.
    """
    if task.is_regression:
        return lambda outputs: functional.mse_loss(outputs.squeeze(-1), labels)
    return partial(functional.cross_entropy, target=labels)
