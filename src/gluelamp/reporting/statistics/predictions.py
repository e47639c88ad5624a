"""Reads the stored predictions of one method on one task, over all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.io import read_parquet
from gluelamp.reporting.statistics.intervals import Predictions
from gluelamp.reporting.statistics.metrics import ERRORS, MATTHEWS_CROSS_FITTED, ROC_AUC
from gluelamp.tasks.halves import in_first_half
from gluelamp.tasks.predictions import predictions_from_outputs
from gluelamp.tasks.task import Task

PREDICTIONS = "predictions.parquet"
_COLUMNS = ("selection", "split", "idx", "label", "output_0")


def read_predictions(scores: pd.DataFrame) -> Predictions | None:
    """Read the predictions of the runs of one score.

    Args:
        scores: rows of `gluelamp.reporting.scores.score_table` that differ in the seed alone. On a task
            with two classes the metric may also be `ROC_AUC` or `MATTHEWS_CROSS_FITTED`.

    Returns:
        None if a run has no predictions file, or if it trained on several tasks at once.

    Raises:
        InputError: if a file is damaged or lacks the selection, or if the runs have different data.
    """
    scores = scores.sort_values("seed", kind="stable")
    paths = [folder / PREDICTIONS for folder in scores["folder"]]
    # A mixture has one score over several tasks, whose rows are in no single split.
    if scores["is_mixture"].any() or not all(path.is_file() for path in paths):
        return None
    if scores["fingerprint"].nunique() > 1:
        folders = ", ".join(map(str, scores["folder"]))
        raise InputError(
            f"The runs {folders} have different data. The seeds of one score must have the same data."
        )
    # The runs differ in the seed alone, so all have its task, metric and selection.
    first = scores.iloc[0]
    task = first["declaration"]
    metric, split = _metric_and_split(task, first["metric"])
    frames = [_select(path, first["selection"], split) for path in paths]
    return Predictions(
        metric=metric,
        labels=frames[0]["label"].to_numpy(np.float64),
        outputs=np.stack([outputs_of(task, metric, frame) for frame in frames]),
        seeds=tuple(scores["seed"]),
        lower_is_better=metric in ERRORS,
        groups=_groups(task, frames[0]),
    )


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a predictions file and check that it has some columns.

    Raises:
        InputError: if the file cannot be read, or lacks a column.
    """
    frame = read_parquet(path)
    for column in columns:
        if column not in frame:
            raise InputError(f"{path} has no column {column!r}. Train again.")
    return frame


def _metric_and_split(task: Task, metric: str) -> tuple[str, str]:
    """Split a name of a record, such as ``accuracy_mismatched``, into its metric and its split."""
    # The main metric is on the first validation split; names on further splits end with their suffix.
    for split in task.validation_splits[1:]:
        suffix = f"_{split.rpartition('_')[2]}"
        if metric.endswith(suffix):
            return metric.removesuffix(suffix), split
    return metric, task.validation_splits[0]


def _select(path: Path, selection: str, split: str) -> pd.DataFrame:
    parts = _read(path, path.stat().st_mtime_ns)
    if (selection, split) not in parts:
        raise InputError(f"{path} has no rows of selection {selection!r} and split {split!r}. Train again.")
    return parts[selection, split]


@lru_cache(maxsize=16)  # the selections and metrics of one run are read one after the other
def _read(path: Path, modified: int) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the rows of a predictions file by selection and split."""
    # Sorted by index: rows of all runs are in the same order, which pairs the methods by example.
    frame = read_columns(path, _COLUMNS).sort_values("idx", kind="stable")
    parts = frame.groupby(["selection", "split"], sort=False, observed=True)
    return {(str(selection), str(split)): rows for (selection, split), rows in parts}


def outputs_of(task: Task, metric: str, frame: pd.DataFrame) -> np.ndarray:
    """Return what a metric scores: class ids as floats, numbers, or margins for `ROC_AUC`, shape (rows,).

    Args:
        task: the declaration of the task.
        metric: its name.
        frame: rows of a predictions file, of one selection and split.

    Raises:
        InputError: if the rows are of another task: they lack an output or the group.
    """
    outputs = [f"output_{number}" for number in range(task.num_outputs)]
    for column in (*outputs, *(["group"] if task.group_column else [])):
        if column not in frame:
            raise InputError(f"The predictions of task {task.name} have no column {column!r}. Train again.")
    # The files hold logits. Float class ids let one code path serve classes and numbers.
    values = frame[outputs].to_numpy(np.float64)
    if metric == ROC_AUC:
        return values[:, 1] - values[:, 0]
    if metric == MATTHEWS_CROSS_FITTED:
        first = in_first_half(len(frame), frame["group"].to_numpy() if task.group_column else None)
        return cross_fitted_classes(frame["label"].to_numpy(), values[:, 1] - values[:, 0], first)
    return predictions_from_outputs(task, values, _groups(task, frame)).astype(np.float64)


def _groups(task: Task, frame: pd.DataFrame) -> np.ndarray | None:
    # Numbers, because names would be sorted again for each block of resamples.
    return np.unique(frame["group"], return_inverse=True)[1] if task.group_column else None


def cross_fitted_classes(labels: np.ndarray, margins: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return predicted classes where each half of the rows has the best threshold of the other half.

    Args:
        labels: 0 or 1, shape (rows,).
        margins: the output of class 1 - that of class 0, shape (rows,).
        first: which rows are in the first half (`gluelamp.tasks.halves.in_first_half`), shape (rows,).

    Returns:
        class ids as floats, shape (rows,).
    """
    by_first, by_second = (_best_threshold(labels[half], margins[half]) for half in (first, ~first))
    return (margins >= np.where(first, by_second, by_first)).astype(np.float64)


def _best_threshold(labels: np.ndarray, margins: np.ndarray) -> float:
    """Return the least margin of class 1 with the highest Matthews correlation; of equal ones the largest."""
    # In descending order each margin is a threshold that predicts class 1 for one row more.
    order = np.argsort(-margins, kind="stable")
    margins, positive = margins[order], labels[order] == 1
    rows, ones = len(labels), positive.sum()
    true, predicted = positive.cumsum(), np.arange(1, rows + 1)
    spread = np.sqrt(float(ones * (rows - ones)) * predicted * (rows - predicted))
    correlation = np.divide(rows * true - predicted * ones, spread, out=np.zeros(rows), where=spread > 0)
    # Equal margins are predicted together
    correlation[:-1][margins[:-1] == margins[1:]] = -np.inf
    return float(margins[correlation.argmax()])
