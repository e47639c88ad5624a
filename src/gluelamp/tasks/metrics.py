"""From model outputs to predictions, and from predictions to the metrics of the task's benchmark."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.benchmarks import task_benchmark
from gluelamp.tasks.task import Task


def predictions_from_outputs(task: Task, outputs: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the predicted class ids, or the predicted numbers of a regression task.

    Args:
        task: the declaration of the task.
        outputs: the outputs of the head, shape (n, task.num_outputs).
        groups: the group of each row, shape (n,); needed if `Task.one_true_per_group`.

    Returns:
        The index of the largest output (int64), or the single output (float64), shape (n,). If one row of
        each group has class 1, it is the row of the group with the largest output 1 - output 0.

    Raises:
        InputError: if an output is not finite.
        ValueError: if the shape does not fit the task.
    """
    if outputs.ndim != 2 or outputs.shape[1] != task.num_outputs:
        raise ValueError(
            f"The outputs of task {task.name!r} have shape {outputs.shape}; expected (n, {task.num_outputs})."
        )
    # argmax of NaN returns a class, so a diverged model would get a score.
    _check_finite(task, outputs)
    if task.is_regression:
        return outputs[:, 0].astype(np.float64)
    if task.one_true_per_group:
        return _one_per_group(outputs[:, 1] - outputs[:, 0], groups)
    return outputs.argmax(axis=1)


def _one_per_group(scores: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    if groups is None:
        raise ValueError("The task predicts one row of each group; give the group of each row.")
    chosen = pd.Series(scores).groupby(groups, sort=False).idxmax()
    predictions = np.zeros(len(scores), np.int64)
    predictions[chosen] = 1
    return predictions


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
    _check_finite(task, predictions)
    # Hidden labels compare like any other class and would give a plausible but wrong score.
    if hidden := int((labels < 0).sum()):
        raise InputError(
            f"{hidden} of {len(labels)} labels of task {task.name!r} are hidden (-1), as in a test "
            "split. Metrics need labels: evaluate on a validation split."
        )
    return task_benchmark(task).score(task, predictions, labels, groups)


def _check_finite(task: Task, values: np.ndarray) -> None:
    if broken := int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum()):
        raise InputError(
            f"The predictions for {broken} of {len(values)} examples of task {task.name!r} are not "
            "finite: the training has diverged. Lower the learning rate or raise the precision."
        )
