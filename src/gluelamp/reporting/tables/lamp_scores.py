"""The scores of tasks with users: over the rows of all users, of each user, and of two baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.reporting.labels import variant_labels
from gluelamp.reporting.scores import COUNTS, table_settings
from gluelamp.reporting.signature import run_fields, signature
from gluelamp.reporting.statistics.predictions import PREDICTIONS, read_columns
from gluelamp.tasks.lamp.metrics import lamp_metrics
from gluelamp.tasks.task import Task

PROFILE_NAMES = {"shared": "shared", "per_user": "per user", "shared_then_per_user": "shared, then per user"}
_READ = ("selection", "split", "idx", "label", "user", "baseline_all", "baseline_user")


@dataclass(frozen=True)
class LampScores:
    """The runs of one row of the table, or a baseline.

    Args:
        method: the name.
        label: the name with its variant.
        profiles: one of `PROFILE_NAMES`.
        rows: the test rows of all runs, with their seeds.
        metrics: the task's metrics over the rows of all users, means over seeds.
        users: the main metric of each user, a mean over seeds, in the order of names.
        setting: which users, which of their rows, and the epochs; among several references the one with
            the same setting is compared.
        run: the other columns; empty for a baseline.
    """

    method: str
    label: str
    profiles: str
    rows: pd.DataFrame
    metrics: Mapping[str, float]
    users: pd.Series
    setting: frozenset[tuple[str, str]]
    run: Mapping[str, Any]


def method_scores(task: Task, runs: pd.DataFrame) -> list[LampScores]:
    """Return the rows of methods in the order of profiles, then of labels."""
    every_setting = table_settings(runs)
    settings = list(map(_settings, every_setting))
    groups = zip(runs["method"], runs["profiles"], strict=True)
    runs = runs.assign(
        run_settings=every_setting,
        setting=settings,
        label=variant_labels(list(zip(groups, runs["method"], settings, strict=True))),
        profiles_rank=runs["profiles"].map(list(PROFILE_NAMES).index),
    )
    return [_row_scores(task, group) for _, group in runs.groupby(["profiles_rank", "label"])]


def _settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that distinguish rows of the table.

    The two halves of the users are one row. A run on one half is not one with a run on all users: its users
    would count twice. The bank of a half consists of the other half's adapters, so it differs between halves.
    """
    is_half = settings.get("task.user_group", "null") != "null"
    omitted = {"task.profiles", "method.bank"} if is_half else {"task.profiles"}
    distinct = {key: value for key, value in settings.items() if key not in omitted}
    return distinct | {"task.user_group": "halves" if is_half else "null"}


def _row_scores(task: Task, runs: pd.DataFrame) -> LampScores:
    parts = [
        _test_rows(folder, task).assign(seed=seed)
        for folder, seed in zip(runs["folder"], runs["seed"], strict=True)
    ]
    # The halves of the users become one set of rows here; seeds stay separate.
    rows = pd.concat(parts, ignore_index=True)
    if rows.duplicated(["seed", "idx"]).any():  # the label of a half does not contain its bank
        raise InputError(
            f"The runs {', '.join(map(str, runs['folder']))} have the same users and the same seed, but "
            "different banks. A row of the table has one run per user: move the others out of the results."
        )
    first = runs.iloc[0]
    task_settings = {key: value for key, value in first["setting"].items() if key.startswith("task.")}
    metrics, users, seeds = _metrics(task, rows)
    run = {
        "min_user_rows": int(first["task.min_user_rows"]),
        "seeds": seeds,
        "epochs": first["epochs"],
        "diverged": runs["diverged"].sum(),
        **first[COUNTS],
        "signature": signature(
            run_fields(first, first["run_settings"])
            | {
                "seeds": ",".join(map(str, sorted(set(runs["seed"])))),
                "rows": rows["idx"].nunique(),
                "bootstrap": "users",
                "version": first["version"],
            }
        ),
    }
    setting = frozenset({**task_settings, "epochs": str(first["epochs"])}.items())
    return LampScores(first["method"], first["label"], first["profiles"], rows, metrics, users, setting, run)


def _test_rows(folder: Path, task: Task) -> pd.DataFrame:
    """Read the test rows of a run with its predictions after the last epoch."""
    path = folder / PREDICTIONS
    if not path.is_file():
        raise InputError(
            f"{path} is missing: the scores of task {task.name!r} are computed from the predictions for each "
            "user. Copy it next to its record, or train again."
        )
    outputs = [f"output_{number}" for number in range(task.num_outputs)]
    frame = read_columns(path, [*_READ, *outputs])
    # Custom tasks have one scored split. It is as good as a test split, because no epoch is selected.
    rows = frame[(frame["split"] == task.validation_splits[-1]) & (frame["selection"] == "last")]
    values = rows[outputs].to_numpy()
    prediction = values[:, 0].astype(np.float64) if task.is_regression else values.argmax(axis=1)
    return rows[["idx", "user", "label", "baseline_all", "baseline_user"]].assign(prediction=prediction)


def _metrics(task: Task, rows: pd.DataFrame) -> tuple[dict[str, float], pd.Series, int]:
    """Return the metrics over all rows, the main metric of each user and the smallest number of seeds."""
    kind = np.float64 if task.is_regression else np.int64  # classes may be stored as floats
    seeds = [part for _, part in rows.groupby("seed")]
    # Scored per seed and then averaged: the macro-F1 of all seeds together would be another number.
    metrics = [
        lamp_metrics(task, *(part[name].to_numpy(kind) for name in ("prediction", "label"))) for part in seeds
    ]
    # The mean of a user's row values is the metric of that user, both for accuracy and for MAE
    if task.main_metric == "mae":
        values = (rows["prediction"] - rows["label"]).abs()
    else:
        values = (rows["prediction"] == rows["label"]).astype("float64")
    users = values.groupby([rows["seed"], rows["user"]]).mean().groupby("user")
    return pd.DataFrame(metrics).mean().to_dict(), users.mean(), int(users.size().min())


def baseline_scores(task: Task, rows: Sequence[LampScores]) -> Iterator[LampScores]:
    """Yield the majority or median baselines, for the users of the row with the most of them."""
    # The baselines of each test row are stored with the predictions of every run that has its user.
    largest = max(rows, key=lambda row: len(row.users))
    once = largest.rows.drop_duplicates("idx").assign(seed=0)
    name = "median" if task.is_regression else "majority"
    for scope, profiles, column in (
        ("all", "shared", "baseline_all"),
        ("own", "per_user", "baseline_user"),
    ):
        predicted = once.assign(prediction=once[column])
        metrics, users, _ = _metrics(task, predicted)
        yield LampScores(name, f"{name} ({scope})", profiles, predicted, metrics, users, largest.setting, {})
