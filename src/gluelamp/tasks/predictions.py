"""From a model's outputs to predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
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
    check_finite(task, outputs)
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


def check_finite(task: Task, values: np.ndarray) -> None:
    """Raise an InputError if the values of an example are not finite, (n,) or (n, outputs)."""
    if broken := int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum()):
        raise InputError(
            f"The predictions for {broken} of {len(values)} examples of task {task.name!r} are not "
            "finite: the training has diverged. Lower the learning rate or raise the precision."
        )
