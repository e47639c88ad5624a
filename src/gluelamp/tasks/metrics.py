"""From model outputs to predictions, and from predictions to the benchmark's metrics."""

from __future__ import annotations

from functools import cache
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.metrics import lamp_metrics
from gluelamp.tasks.task import Task

if TYPE_CHECKING:
    import evaluate


def predictions_from_outputs(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Return the predicted class ids, or the predicted numbers of a regression task.

    Args:
        task: the declaration of the task.
        outputs: what the head returns, shape (n, task.num_outputs).

    Returns:
        The index of the largest output (int64), or the single output (float64), shape (n,).

    Raises:
        InputError: if an output is not finite.
        ValueError: if the shape does not fit the task.
    """
    if outputs.ndim != 2 or outputs.shape[1] != task.num_outputs:
        raise ValueError(
            f"The outputs of task {task.name!r} have shape {outputs.shape}; expected (n, {task.num_outputs})."
        )
    _check_finite(task, outputs)
    if task.is_regression:
        return outputs[:, 0].astype(np.float64)
    return outputs.argmax(axis=1)


def compute_metrics(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the task's metrics by the rules of the GLUE benchmark (arXiv 1804.07461, section 3).

    Matthews, Pearson and Spearman correlations are 0.0 where predictions or labels are constant,
    instead of undefined. F1 is that of class 1, and 0.0 where class 1 occurs in neither. Tasks with users
    are scored as LaMP's own scorer does.

    Args:
        task: the declaration of the task.
        predictions: class ids, or numbers for a regression task, shape (n,).
        labels: the gold labels, shape (n,).

    Returns:
        A fraction (accuracy, F1), a correlation or an error per metric of the task, in the task's order.

    Raises:
        InputError: if a prediction is not finite, or if a label is hidden.
        ValueError: if there is nothing to compare, or if the shapes differ.
    """
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(
            f"Predictions of shape {predictions.shape} and labels of shape {labels.shape} of task "
            f"{task.name!r} cannot be compared; expected two of the same shape (n,), n > 0."
        )
    _check_finite(task, predictions)
    if hidden := int((labels < 0).sum()):
        raise InputError(
            f"{hidden} of {len(labels)} labels of task {task.name!r} are hidden (-1), as in a test "
            "split. Metrics need labels: evaluate on a validation split."
        )
    if task.user_column:
        return lamp_metrics(task, predictions, labels)
    module = _metric_module("regression" if task.is_regression else "classification")
    # One batch of one list each: see the features of the module.
    return module.compute(predictions=[predictions], references=[labels], metrics=list(task.metrics))


@cache
def _metric_module(kind: str) -> evaluate.Metric:
    # Built directly, because evaluate.load() copies the module into a cache in the user's home. The
    # constructor insists on making a folder, which `keep_in_memory` then leaves unused.
    from gluelamp.tasks.evaluate_modules.glue_metrics.glue_metrics import GlueMetrics

    with TemporaryDirectory() as unused:
        return GlueMetrics(config_name=kind, keep_in_memory=True, cache_dir=unused)


def _check_finite(task: Task, values: np.ndarray) -> None:
    if broken := int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum()):
        raise InputError(
            f"The predictions for {broken} of {len(values)} examples of task {task.name!r} are not "
            "finite: the training has diverged. Lower the learning rate or raise the precision."
        )
