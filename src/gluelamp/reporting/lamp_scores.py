"""What a run on a task with persons reached on its test rows: pooled, and for each person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gluelamp.bootstrap import mean_interval
from gluelamp.errors import InputError
from gluelamp.tasks.lamp.metrics import lamp_metrics
from gluelamp.tasks.sources.files import read_parquet
from gluelamp.tasks.task import Task

_SPLIT, _SELECTION = "test", "last"
_NEEDED = ("selection", "split", "idx", "label", "user", "baseline_all", "baseline_user")
_DIGITS = 12  # equal means over seeds may differ in the last bits, which is no difference


@dataclass(frozen=True)
class Scores:
    """The scores of one row of the table.

    Args:
        pooled: the task's metrics over the rows of all persons, each a mean over seeds.
        persons: the main metric of each person, a mean over the seeds, by name in order.
        rows: number of test rows.
        seeds: the number of seeds that every person has at least.
    """

    pooled: dict[str, float]
    persons: pd.Series
    rows: int
    seeds: int


@dataclass(frozen=True)
class UserMean:
    """A mean over users in which every user has the same weight.

    Args:
        mean: the mean of the users' scores.
        low: lower end of the 95 % interval; NaN for fewer than two users.
        high: upper end.
        users: number of users.
    """

    mean: float
    low: float
    high: float
    users: int


def read_test_rows(folder: Path, task: Task) -> pd.DataFrame:
    """Return the test rows of a run with its predictions after the last epoch.

    Args:
        folder: of the run, with its ``predictions.parquet``.
        task: the declaration.

    Returns:
        columns ``idx``, ``user``, ``label``, ``prediction``, ``baseline_all`` and ``baseline_user``.

    Raises:
        InputError: if the file is not there or damaged, or lacks a column.
    """
    path = folder / "predictions.parquet"
    needs = f"the scores of task {task.name!r} are made from each person's predictions"
    if not path.is_file():
        raise InputError(f"{path} is missing: {needs}. Copy it to its record, or train again.")
    frame = read_parquet(path).rows
    outputs = [f"output_{number}" for number in range(task.num_outputs)]
    if lacking := [column for column in (*_NEEDED, *outputs) if column not in frame]:
        raise InputError(f"{path} has no column {lacking[0]!r}: {needs}. Train again.")
    rows = frame[(frame["split"] == _SPLIT) & (frame["selection"] == _SELECTION)]
    values = rows[outputs].to_numpy()
    prediction = values[:, 0].astype(np.float64) if task.is_regression else values.argmax(axis=1)
    return rows[["idx", "user", "label", "baseline_all", "baseline_user"]].assign(prediction=prediction)


def score(task: Task, rows: pd.DataFrame) -> Scores:
    """Return the scores of the runs of one row of the table.

    Args:
        task: the declaration.
        rows: of `read_test_rows`, of all runs, with their ``seed``.
    """
    seeds = rows.groupby("seed")
    pooled = pd.DataFrame([_pooled(task, part) for _, part in seeds]).mean()
    each = pd.concat([user_scores(task, part) for _, part in seeds]).groupby("user")[task.main_metric]
    return Scores(pooled.to_dict(), each.mean(), rows["idx"].nunique(), int(each.size().min()))


def user_scores(task: Task, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the number of rows and the main metric of each user.

    Args:
        task: a declaration whose main metric is accuracy or mae.
        frame: columns ``user``, ``prediction`` and ``label``.

    Returns:
        One row per user, sorted by name: ``user``, ``n`` and ``accuracy`` or ``mae``.
    """
    # The mean of a user's row values is the metric of that user, both for accuracy and for mae.
    if task.main_metric == "mae":
        values = (frame["prediction"] - frame["label"]).abs()
    else:
        values = (frame["prediction"] == frame["label"]).astype("float64")
    scores = values.groupby(frame["user"].to_numpy()).agg(["size", "mean"])
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


def paired_difference(ours: Scores, theirs: Scores) -> UserMean | None:
    """Return the mean difference over the persons whom both have; None if there are none.

    Args:
        ours: from which is subtracted.
        theirs: what is subtracted.
    """
    pairs = pd.concat([ours.persons, theirs.persons], axis=1, join="inner", keys=["ours", "theirs"])
    if pairs.empty:
        return None
    return mean_over_users((pairs["ours"] - pairs["theirs"]).round(_DIGITS))


def verdict(task: Task, difference: UserMean) -> str:
    """Return ``tie`` if the interval of a difference contains 0, else ``better`` or ``worse``.

    Args:
        task: says whether less is better.
        difference: of its main metric; of one person, who has no interval, nothing can be said.
    """
    if np.isnan(difference.low):
        return ""
    if difference.low <= 0 <= difference.high:
        return "tie"
    return "better" if (difference.low > 0) != task.lower_is_better else "worse"


def _pooled(task: Task, rows: pd.DataFrame) -> dict[str, float]:
    kind = np.float64 if task.is_regression else np.int64  # classes may be stored as floats
    predictions, labels = (rows[name].to_numpy(kind) for name in ("prediction", "label"))
    return lamp_metrics(task, predictions, labels)
