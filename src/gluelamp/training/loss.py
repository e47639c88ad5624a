"""The loss of a task or of a mixture of tasks."""

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

    The loss is the squared error for regression and the cross-entropy for classification. In a mixture each
    example has the loss of its own task, on the outputs of this task.

    Args:
        task: the declaration.
        labels: (batch,) scores or class indices.
        task_ids: (batch,) index of the mixture's member that each example belongs to; None for one task.
    """
    if isinstance(task, Task):
        return lambda outputs: _loss(task, outputs, labels, "mean")

    def mean_over_batch(outputs: Tensor) -> Tensor:
        # Sums, and one division: each example has the same weight, whatever the members' row counts are.
        sums = [
            _loss(member, outputs[task_ids == number, columns], labels[task_ids == number], "sum")
            for number, (member, columns) in enumerate(zip(task.members, task.columns, strict=True))
        ]
        return torch.stack(sums).sum() / len(labels)

    return mean_over_batch


def row_losses(task: Task, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each example of a batch, (batch,).

    Args:
        task: the declaration; not a mixture.
        outputs: of the head, (batch, outputs).
        labels: (batch,) scores or class indices.
    """
    return _loss(task, outputs, labels, "none")


def _loss(task: Task, outputs: Tensor, labels: Tensor, reduction: Literal["mean", "sum", "none"]) -> Tensor:
    # A regression's head has one output, (batch, 1), and its labels are (batch,).
    if task.is_regression:
        return functional.mse_loss(outputs.squeeze(-1), labels, reduction=reduction)
    return functional.cross_entropy(outputs, labels.long(), reduction=reduction)
