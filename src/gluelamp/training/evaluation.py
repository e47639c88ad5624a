"""A model's outputs for the rows of a split, and the loss and the metrics of these outputs."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from gluelamp.methods.base import TaskLoss
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.metrics import compute_metrics
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.predictions import predictions_from_outputs
from gluelamp.tasks.task import Task
from gluelamp.training.batches import collate, evaluation_order

Outputs = dict[str, np.ndarray]
"""By validation split, the head's outputs (examples, outputs)."""


@torch.no_grad()
def predict(model: PreTrainedModel, split: EncodedSplit, batch_size: int, device: torch.device) -> np.ndarray:
    """Return the head's outputs, (examples, outputs) float32, in the order of the split.

    Args:
        model: in evaluation mode during the call; its mode is restored afterwards.
        split: the encoded rows.
        batch_size: examples in a step.
        device: of the model.
    """
    was_training = model.training
    model.eval()
    outputs = np.empty((len(split), int(model.config.num_labels or 1)), np.float32)
    # Batches of similar lengths need little padding. Each result is written to the row of its example.
    for examples in evaluation_order(split.lengths, batch_size):
        inputs, _ = collate(split, examples, device)
        outputs[examples] = model(**inputs).logits.float().cpu().numpy()
    model.train(was_training)
    return outputs


def evaluate_splits(
    task: Task | Mixture, splits: dict[str, EncodedSplit], outputs: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return the task's metrics over its validation splits.

    The metrics of the first split have their plain names; those of a further split have its last word as a
    suffix: ``accuracy`` and ``accuracy_mismatched`` for MNLI. For a mixture, each member's metrics have its
    name as a prefix, as in ``cola.matthews_correlation``, and ``average`` is the mean of their main metrics.

    Args:
        task: the declaration.
        splits: the encoded validation splits; the first one selects the best epoch.
        outputs: by split, from `predict`.
    """
    if isinstance(task, Mixture):
        return _evaluate_members(task, splits, outputs)
    metrics: dict[str, float] = {}
    for number, (name, split) in enumerate(splits.items()):
        predictions = predictions_from_outputs(task, outputs[name], split.groups)
        scores = compute_metrics(task, predictions, split.labels, split.groups)
        suffix = f"_{name.rpartition('_')[2]}" if number else ""
        metrics |= {f"{metric}{suffix}": value for metric, value in scores.items()}
    return metrics


def _evaluate_members(
    mixture: Mixture, splits: dict[str, EncodedSplit], outputs: dict[str, np.ndarray]
) -> dict[str, float]:
    metrics: dict[str, float] = {}
    main = []
    for number, (member, columns) in enumerate(zip(mixture.members, mixture.columns, strict=True)):
        # Each split of a mixture has rows of one member, and each member has its own columns of the head.
        own = {name: split for name, split in splits.items() if np.all(split.tasks == number)}
        scores = evaluate_splits(member, own, {name: outputs[name][:, columns] for name in own})
        main.append(scores[member.main_metric])
        metrics |= {f"{member.name}.{metric}": value for metric, value in scores.items()}
    return {mixture.main_metric: float(np.mean(main)), **metrics}


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
