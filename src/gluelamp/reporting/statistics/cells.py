"""One method on one task: the predictions of all its seeds, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.records import FoundRun
from gluelamp.reporting.statistics.weighted import resampled_scores, weighted_scores
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.sources.files import read_parquet
from gluelamp.tasks.sources.table import require_columns
from gluelamp.tasks.task import Task

PREDICTIONS = "predictions.parquet"
_COLUMNS = ("selection", "split", "idx", "label", "output_0")


@dataclass(frozen=True, eq=False)
class Cell:
    """All seeds of one method (with its settings) on one task and split.

    Args:
        metric: the metric in which it is scored.
        labels: class ids or numbers, shape (rows,).
        predictions: class ids, or numbers for a regression task, shape (seeds, rows).
        seeds: of the runs, in order.
        lower_is_better: whether the metric is an error.
    """

    metric: str
    labels: np.ndarray
    predictions: np.ndarray
    seeds: tuple[int, ...]
    lower_is_better: bool

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of each seed on all rows, shape (seeds,)."""
        once = np.ones((len(self.labels), 1))
        return weighted_scores(self.metric, self.labels, self.predictions, once)[:, 0]

    @cached_property
    def resampled(self) -> np.ndarray:
        """The scores of each seed on bootstrap samples of the rows, shape (seeds, resamples)."""
        return resampled_scores(self.metric, self.labels, self.predictions)


def read_cell(runs: Sequence[FoundRun], selection: str, metric: str | None = None) -> Cell:
    """Return the cell of the runs of one method on one task, from their stored predictions.

    Args:
        runs: complete runs that differ in the seed alone, at least one.
        selection: ``"held_out"``, ``"best"`` or ``"last"``.
        metric: as in the record, such as ``"f1"`` or ``"accuracy_mismatched"``; the task's main metric if
            None.

    Raises:
        InputError: if the predictions of a run are missing, damaged or without the selection, or if the runs
            are not on the same rows.
    """
    runs = sorted(runs, key=lambda run: run[1].config["seed"])
    (_, first), *others = runs
    if any(record.data["fingerprint"] != first.data["fingerprint"] for _, record in others):
        folders = ", ".join(str(folder) for folder, _ in runs)
        raise InputError(f"The runs {folders} are on different data. Seeds of a cell share their data.")
    task = known_task(first.config["task"]["name"])
    name, split = _metric_and_split(task, metric or task.main_metric)
    frames = [_read(folder / PREDICTIONS, selection, split) for folder, _ in runs]
    return Cell(
        metric=name,
        labels=frames[0]["label"].to_numpy(np.float64),
        predictions=np.stack([_predictions(task, frame) for frame in frames]),
        seeds=tuple(record.config["seed"] for _, record in runs),
        lower_is_better=task.lower_is_better,
    )


def find_cell(runs: Sequence[FoundRun], selection: str, metric: str | None = None) -> Cell | None:
    """Return `read_cell`, or None where a run kept no predictions or learnt several tasks at once."""
    is_mixture = any(record.config["task"].get("members") for _, record in runs)
    has_all = all((folder / PREDICTIONS).is_file() for folder, _ in runs)
    return read_cell(runs, selection, metric) if has_all and not is_mixture else None


def _metric_and_split(task: Task, metric: str) -> tuple[str, str]:
    """Return the bare metric and the split of a name as in records, such as ``accuracy_mismatched``."""
    for split in task.validation_splits[1:]:
        suffix = f"_{split.rpartition('_')[2]}"
        if metric.endswith(suffix):
            return metric.removesuffix(suffix), split
    return metric, task.validation_splits[0]


def _read(path: Path, selection: str, split: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} is missing: intervals need it. Copy it to its record, or train again.")
    frame = _file(path, path.stat().st_mtime_ns)
    rows = frame[(frame["selection"] == selection) & (frame["split"] == split)]
    if rows.empty:
        raise InputError(f"{path} has no rows of selection {selection!r} and split {split!r}. Train again.")
    return rows.sort_values("idx", kind="stable")


@lru_cache(maxsize=16)  # selections and metrics of the same runs are read one after the other
def _file(path: Path, changed: int) -> pd.DataFrame:
    rows = read_parquet(path).rows
    require_columns(str(path), rows.columns, _COLUMNS)
    return rows


def _predictions(task: Task, frame: pd.DataFrame) -> np.ndarray:
    outputs = frame[[f"output_{number}" for number in range(task.num_outputs)]].to_numpy(np.float64)
    return outputs[:, 0] if task.is_regression else outputs.argmax(axis=1).astype(np.float64)
