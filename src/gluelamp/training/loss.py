"""The loss of a task, or of several."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gluelamp.methods.base import TaskLoss
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task


def task_loss(task: Task | Mixture, labels: Tensor, task_ids: Tensor | None = None) -> TaskLoss:
    """Return the mean loss over a batch, as a function of the head's outputs.

    Args:
        task: regression has the squared error, classification the cross-entropy; in a mixture each
            example has its own task's, on its own task's outputs.
        labels: (batch,) scores or numbers of classes.
        task_ids: (batch,) which member of a mixture each example belongs to; None for one task.
    """
    if isinstance(task, Task):
        return lambda outputs: _loss(task, outputs, labels, "mean")

    def mean_of_all(outputs: Tensor) -> Tensor:
        sums = [
            _loss(member, outputs[task_ids == number, columns], labels[task_ids == number], "sum")
            for number, (member, columns) in enumerate(zip(task.members, task.columns, strict=True))
        ]
        return torch.stack(sums).sum() / len(labels)

    return mean_of_all


def row_losses(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each example of a batch, (batch,).

    Args:
        task: not a mixture.
        outputs: of the head, (batch, outputs).
        labels: (batch,) scores or numbers of classes.
    """
    return _loss(task, outputs, labels, "none")


def _loss(task: Task, outputs: Tensor, labels: Tensor, reduction: Literal["mean", "sum", "none"]) -> Tensor:
    if task.is_regression:
        return functional.mse_loss(outputs.squeeze(-1), labels, reduction=reduction)
    return functional.cross_entropy(outputs, labels.long(), reduction=reduction)
