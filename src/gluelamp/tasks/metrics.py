"""From predictions to the metrics of the task's benchmark."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from gluelamp.errors import InputError
from gluelamp.tasks.benchmarks import task_benchmark
from gluelamp.tasks.predictions import check_finite
from gluelamp.tasks.task import Task


def compute_metrics(
    task: Task, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> dict[str, float]:
    """Return the task's metrics by the rules of its benchmark (`gluelamp.tasks.benchmarks`).

    Args:
        task: the declaration of the task.
        predictions: class ids, or numbers for a regression task, shape (n,).
        labels: the gold labels, shape (n,).
        groups: the group of each row, shape (n,); None if the task has no groups.

    Returns:
        A fraction (accuracy, F1), a correlation or an error per metric of the task, in the task's order.

    Raises:
        InputError: if a prediction is not finite, or if a label is hidden.
        ValueError: if the arrays are empty or their shapes differ.
    """
    if predictions.ndim != 1 or predictions.shape != labels.shape or not len(labels):
        raise ValueError(
            f"Predictions of shape {predictions.shape} and labels of shape {labels.shape} of task "
            f"{task.name!r} cannot be compared; expected two of the same shape (n,), n > 0."
        )
    check_finite(task, predictions)
    # Hidden labels compare like any other class and would give a plausible but wrong score.
    lowest = min(task.label_range[0], 0) if task.label_range else 0
    if hidden := int((labels < lowest).sum()):
        raise InputError(
            f"{hidden} of {len(labels)} labels of task {task.name!r} are hidden (-1), as in a test "
            "split. Metrics need labels: evaluate on a validation split."
        )
    return task_benchmark(task).score(task, predictions, labels, groups)


def roc_auc(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the ROC curve of a task with two classes, a score that needs no threshold.

    Args:
        outputs: of the head, shape (n, 2).
        labels: class ids, shape (n,), of both classes.
    """
    return float(roc_auc_score(labels, outputs[:, 1] - outputs[:, 0]))
