"""LaMP's metrics, and the same per user with an interval over users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gluelamp.bootstrap import mean_interval
from gluelamp.tasks.task import Task


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of equal classes; a prediction of -1 is a miss."""
    return float(np.mean(predictions == labels))


def macro_f1(predictions: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Return the mean of the F1 of all classes, as the official scorer takes it.

    A class that stands neither among the predictions nor among the labels counts as 0; -1 is no class.

    Args:
        predictions: class ids, or -1 for an answer that is no class, shape (n,).
        labels: class ids, shape (n,).
        classes: number of classes of the task.
    """
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, labels=range(classes), average="macro", zero_division=0.0))


def mae(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean absolute error; of rating classes the same, since class i is the score i + 1."""
    return float(np.mean(np.abs(predictions - labels)))


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the root of the mean squared error; of rating classes the same as of their scores."""
    return float(np.sqrt(np.mean((predictions - labels) ** 2)))


def lamp_metrics(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the metrics of a LaMP task, in the task's order.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
        predictions: class ids or scores, shape (n,).
        labels: the gold labels, shape (n,).
    """
    known: dict[str, Callable[[], float]] = {
        "accuracy": lambda: accuracy(predictions, labels),
        "macro_f1": lambda: macro_f1(predictions, labels, len(task.labels)),
        "mae": lambda: mae(predictions, labels),
        "rmse": lambda: rmse(predictions, labels),
    }
    return {name: known[name]() for name in task.metrics}


@dataclass(frozen=True)
class UserMean:
    """A mean over users, each of whom counts alike.

    Args:
        mean: of the users' scores.
        low: lower end of the 95 % interval; NaN for fewer than two users.
        high: upper end.
        users: number of users.
    """

    mean: float
    low: float
    high: float
    users: int


def user_scores(task: Task, frame: pd.DataFrame) -> pd.DataFrame:
    """Return each user's number of rows and main metric.

    Args:
        task: a declaration whose main metric is accuracy or mae.
        frame: columns ``user``, ``prediction`` and ``label``.

    Returns:
        One row per user in the order of their names: ``user``, ``n`` and ``accuracy`` or ``mae``.
    """
    if task.main_metric == "mae":
        each = (frame["prediction"] - frame["label"]).abs()
    else:
        each = (frame["prediction"] == frame["label"]).astype("float64")
    scores = each.groupby(frame["user"].to_numpy()).agg(["size", "mean"])
    scores.columns = pd.Index(["n", task.main_metric])
    return scores.rename_axis("user").reset_index()


def mean_over_users(scores: pd.Series) -> UserMean:
    """Return the mean over users and its 95 % bootstrap interval; users are resampled.

    Args:
        scores: one per user, at least one.
    """
    values = scores.to_numpy(np.float64)
    low, high = mean_interval(values) if len(values) > 1 else (np.nan, np.nan)
    return UserMean(float(values.mean()), low, high, len(values))
