"""The metrics of tasks on rows of one's own, by scikit-learn and SciPy, and the file of their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_absolute_error,
    root_mean_squared_error,
)

from gluelamp.io import write_text
from gluelamp.tasks.task import Task

Metric = Callable[[np.ndarray, np.ndarray], float]


def _correlation(function: Callable, labels: np.ndarray, predictions: np.ndarray) -> float:
    # The correlation with a constant is undefined; such predictions carry no information.
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return function(labels, predictions).statistic


METRICS: Mapping[str, Mapping[str, Metric]] = {
    "classification": {
        "accuracy": accuracy_score,
        "f1": partial(f1_score, zero_division=0.0),
        "macro_f1": partial(f1_score, average="macro", zero_division=0.0),
        "matthews_correlation": matthews_corrcoef,
    },
    "regression": {
        "pearson": partial(_correlation, pearsonr),
        "spearman": partial(_correlation, spearmanr),
        "mae": mean_absolute_error,
        "rmse": root_mean_squared_error,
    },
}
"""By kind of task; ``f1`` is that of the second class, ``macro_f1`` the mean over the classes that occur."""

DEFAULT_METRICS = {"classification": ("accuracy", "macro_f1"), "regression": ("pearson", "spearman")}
USER_METRICS = {"classification": ("accuracy", "macro_f1"), "regression": ("mae", "rmse")}
"""Of tasks with users: those of LaMP, whose tables also have the first one for each user."""


def custom_metrics(
    task: Task, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> dict[str, float]:
    """Return the metrics of a task, in its order.

    Args:
        task: the declaration.
        predictions: class ids or numbers, shape (n,).
        labels: the gold labels, shape (n,).
        groups: None, because the rows are in no groups.
    """
    return {name: float(METRICS[task.kind][name](labels, predictions)) for name in task.metrics}


def write_predictions(task: Task, predictions: Mapping[str, pd.DataFrame], folder: Path) -> Path:
    """Write ``FOLDER/TASK.csv`` with the columns ``id``, the row's number from 0, and ``prediction``.

    Args:
        task: the declaration; predicted class ids are written as class names.
        predictions: the frame of the split ``test``, with the columns ``idx`` and ``prediction``.
        folder: is created if it is missing.
    """
    frame = predictions["test"]
    values = frame["prediction"]
    named = values if task.is_regression else values.map(dict(enumerate(task.labels)))
    path = folder / f"{task.name}.csv"
    table = pd.DataFrame({"id": frame["idx"], "prediction": named})
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
    return path
