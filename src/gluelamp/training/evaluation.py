"""What a model returns for the rows of a split."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel

from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.metrics import compute_metrics, predictions_from_outputs
from gluelamp.tasks.task import Task
from gluelamp.training.batches import collate, evaluation_order


@torch.no_grad()
def predict(model: PreTrainedModel, split: EncodedSplit, batch_size: int, device: torch.device) -> np.ndarray:
    """Return the head's outputs, (examples, outputs) float32, in the order of the split.

    Args:
        model: in evaluation mode during the call, as it was after it.
        split: the encoded rows.
        batch_size: examples a step.
        device: where the model is.
    """
    was_training = model.training
    model.eval()
    outputs = np.empty((len(split), int(model.config.num_labels or 1)), np.float32)
    for examples in evaluation_order(split.lengths, batch_size):
        inputs, _ = collate(split, examples, device)
        outputs[examples] = model(**inputs).logits.float().cpu().numpy()
    model.train(was_training)
    return outputs


def evaluate_splits(
    task: Task, splits: dict[str, EncodedSplit], outputs: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return the task's metrics over its validation splits.

    The first split's metrics stand under their own names, a further split's with what sets it apart
    behind: ``accuracy`` and ``accuracy_mismatched`` for MNLI.

    Args:
        task: the declaration.
        splits: the encoded validation splits, first the one that selects the best epoch.
        outputs: per split, from `predict`.
    """
    metrics: dict[str, float] = {}
    for number, (name, split) in enumerate(splits.items()):
        found = compute_metrics(task, predictions_from_outputs(task, outputs[name]), split.labels)
        suffix = f"_{name.rpartition('_')[2]}" if number else ""
        metrics |= {f"{metric}{suffix}": value for metric, value in found.items()}
    return metrics
