"""The table of tasks with users: scores on test rows, pooled and per user, paired with two references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.bootstrap import mean_interval
from gluelamp.errors import InputError
from gluelamp.records import RunRecord
from gluelamp.reporting.labels import SAMPLE_NOTE, variant_labels
from gluelamp.reporting.rendering import (
    COUNT,
    Cell,
    Format,
    Number,
    Page,
    Table,
    Text,
    escape,
    numbers,
    texts,
)
from gluelamp.reporting.scores import CHECKSUM_DIGITS, COUNTS, SAMPLE, table_settings
from gluelamp.reporting.statistics.predictions import PREDICTIONS, read_columns
from gluelamp.reporting.tables.accuracy import failed_runs
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.lamp.metrics import lamp_metrics
from gluelamp.tasks.task import Task

PROTOCOLS = {"shared": "shared", "per_user": "per user", "shared_then_per_user": "shared, then per user"}
REFERENCES = ("head_only", "pfeiffer")
SECTION = ["data", "task", "backbone", "fingerprint", "checksum"]
_RUN_COLUMNS = ["min_user_rows", "seeds", "epochs", "diverged", *COUNTS]
_INTEGERS = ["users", "test_rows", *_RUN_COLUMNS, *(f"vs_{name}_users" for name in REFERENCES)]
LAMP_COLUMNS = [
    *SECTION,
    *("method", "profiles", "users", "min_user_rows", "test_rows", "seeds", "epochs", "diverged"),
    *("accuracy", "macro_f1", "mae", "rmse"),
    *("user_metric", "user_mean", "user_low", "user_high"),
    *COUNTS,
    *(f"vs_{name}{part}" for name in REFERENCES for part in ("", "_low", "_high", "_users", "_verdict")),
]
_READ = ("selection", "split", "idx", "label", "user", "baseline_all", "baseline_user")
_DIGITS = 12  # equal means over seeds may differ in the last bits of a float

_NOT_COMPARABLE = (
    "Not comparable with published LaMP or X-PEFT numbers: the rows of each user were split by this project, "
    "from the records of this copy of the data."
)
_READING = (
    "Scores on the test rows after the last epoch. No epoch is selected, because a user has few validation "
    "rows. Accuracy (over the rows of all users) and macro-F1 (over all labels of the task) are times 100, "
    "and so are their differences; for MAE and RMSE, lower is better. Scores are averaged over seeds first.",
    "**profiles**: *shared*: one profile for all users; *per user*: one profile per user; *shared, then per "
    "user*: each user's profile starts from the shared one. Trained values and bytes are those of one profile"
    " and its head. Shared bytes are stored once for all profiles.",
    "**mean of users**: of each user's accuracy (or MAE), all with equal weight. In brackets: the 95 % "
    "interval, by a bootstrap over users; it does not cover other seeds.",
    "**vs head_only**, **vs pfeiffer**: the mean over users of method - reference with the same profiles, its"
    " 95 % interval, and the number of users of both. The verdict is *tie* if the interval contains 0. The "
    "interval of two equal methods misses 0 in one of twenty cases, and it is not corrected for the number of"
    " rows. Empty if there is no such run, or if several references exist and not exactly one has the same "
    "users and epochs.",
    "**majority**, **median**: the most frequent class or the median score of the training rows, of all users"
    " or of the user.",
)
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mae": "MAE", "rmse": "RMSE"}
_TITLES = {
    "trained": "trained values",
    "method_bytes": "bytes",
    "head_bytes": "head bytes",
    "shared_bytes": "shared bytes",
}


@dataclass(frozen=True)
class _Row:
    """The runs of one row of the table, or a baseline.

    Args:
        method: the name.
        label: the name with its variant.
        profiles: one of `PROTOCOLS`.
        rows: the test rows of all runs, with their seeds.
        metrics: the task's metrics over the rows of all users, means over seeds.
        users: the main metric of each user, a mean over seeds, in the order of names.
        setting: the choice of users and the epochs; it selects among several references.
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


def lamp_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per data, task, backbone, variant of a method and profiles, and two baselines.

    Runs that differ in ``task.user_group`` alone are one row, with the users of both groups.

    Args:
        scores: of `gluelamp.reporting.scores.score_table`, of tasks with users.

    Returns:
        the columns `LAMP_COLUMNS`, scores as fractions, and for the page ``deviations``.

    Raises:
        InputError: if the predictions of a run are missing.
    """
    # No selection of the epoch: a user has too few validation rows for one. The result has one row per run.
    runs = scores[(scores["selection"] == "last") & scores["is_main"]]
    short = {name: runs[name].str[:CHECKSUM_DIGITS] for name in ("fingerprint", "checksum")}
    place = runs["task"].map(list(TASKS).index)
    runs = runs.assign(**short, place=place).sort_values(["data", "place", *SECTION[2:]], kind="stable")
    sections = runs.groupby(SECTION, sort=False)
    rows = [row for section, part in sections for row in _section_rows(section, part)]
    frame = pd.DataFrame(rows, columns=[*LAMP_COLUMNS, "deviations"])
    return frame.astype(dict.fromkeys(_INTEGERS, "Int64"))


def _section_rows(section: tuple[str, ...], runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    task = TASKS[section[1]]
    deviations = tuple(dict.fromkeys(text for texts in runs["deviations"] for text in texts))
    rows = _method_rows(task, runs)
    for row in [*_baselines(task, rows), *rows]:
        low, high = _interval(row.users)
        yield {
            **dict(zip(SECTION, section, strict=True)),
            "method": row.label,
            "profiles": row.profiles,
            "users": len(row.users),
            "test_rows": row.rows["idx"].nunique(),
            **row.metrics,
            "user_metric": task.main_metric,
            "user_mean": row.users.mean(),
            "user_low": low,
            "user_high": high,
            **row.run,
            **_difference(task, row, rows, REFERENCES[0]),
            **_difference(task, row, rows, REFERENCES[1]),
            "deviations": deviations,
        }


def _method_rows(task: Task, runs: pd.DataFrame) -> list[_Row]:
    """Return the rows of methods in the order of profiles, then of labels."""
    settings = list(map(_settings, table_settings(runs)))
    groups = zip(runs["method"], runs["profiles"], strict=True)
    runs = runs.assign(
        setting=settings,
        label=variant_labels(list(zip(groups, runs["method"], settings, strict=True))),
        protocol=runs["profiles"].map(list(PROTOCOLS).index),
    )
    return [_method_row(task, group) for _, group in runs.groupby(["protocol", "label"])]


def _settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that distinguish rows of the table.

    The two halves of the users are one row. A run on one half is not one with a run on all users: its users
    would count twice. The bank of a half consists of the other half's adapters, so it differs between halves.
    """
    is_half = settings.get("task.user_group", "null") != "null"
    omitted = {"task.profiles", "method.bank"} if is_half else {"task.profiles"}
    distinct = {key: value for key, value in settings.items() if key not in omitted}
    return distinct | {"task.user_group": "halves" if is_half else "null"}


def _method_row(task: Task, runs: pd.DataFrame) -> _Row:
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
    choice = {key: value for key, value in first["setting"].items() if key.startswith("task.")}
    metrics, users, seeds = _scores(task, rows)
    run = {
        "min_user_rows": int(first["task.min_user_rows"]),
        "seeds": seeds,
        "epochs": first["epochs"],
        "diverged": runs["diverged"].sum(),
        **first[COUNTS],
    }
    setting = frozenset({**choice, "epochs": str(first["epochs"])}.items())
    return _Row(first["method"], first["label"], first["profiles"], rows, metrics, users, setting, run)


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
    rows = frame[(frame["split"] == "test") & (frame["selection"] == "last")]
    values = rows[outputs].to_numpy()
    prediction = values[:, 0].astype(np.float64) if task.is_regression else values.argmax(axis=1)
    return rows[["idx", "user", "label", "baseline_all", "baseline_user"]].assign(prediction=prediction)


def _scores(task: Task, rows: pd.DataFrame) -> tuple[dict[str, float], pd.Series, int]:
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


def _baselines(task: Task, rows: Sequence[_Row]) -> Iterator[_Row]:
    """Yield the majority or median baselines, for the users of the row with the most of them."""
    # The baselines of each test row are stored with the predictions of every run that has its user.
    largest = max(rows, key=lambda row: len(row.users))
    once = largest.rows.drop_duplicates("idx").assign(seed=0)
    name = "median" if task.is_regression else "majority"
    for scope, profiles, column in (
        ("all", "shared", "baseline_all"),
        ("own", "per_user", "baseline_user"),
    ):
        guesses = once.assign(prediction=once[column])
        metrics, users, _ = _scores(task, guesses)
        yield _Row(name, f"{name} ({scope})", profiles, guesses, metrics, users, largest.setting, {})


def _difference(task: Task, row: _Row, rows: Sequence[_Row], name: str) -> dict[str, Any]:
    """Return row - reference over the users of both; empty without a reference or a common user."""
    # The reference has several rows if it ran on several choices of users or epochs. Only the one with the
    # settings of this row is a fair reference.
    references = [other for other in rows if (other.method, other.profiles) == (name, row.profiles)]
    if len(references) > 1:
        references = [other for other in references if other.setting == row.setting]
    if len(references) != 1 or row.method == name:
        return {}
    pairs = pd.concat([row.users, references[0].users], axis=1, join="inner", keys=["left", "right"])
    if pairs.empty:
        return {}
    # Paired by user: users differ far more than methods do.
    differences = (pairs["left"] - pairs["right"]).round(_DIGITS)
    low, high = _interval(differences)
    return {
        f"vs_{name}": differences.mean(),
        f"vs_{name}_low": low,
        f"vs_{name}_high": high,
        f"vs_{name}_users": len(differences),
        f"vs_{name}_verdict": _verdict(task, low, high),
    }


def _interval(users: pd.Series) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over users; NaN for one user."""
    return mean_interval(users.to_numpy(np.float64)) if len(users) > 1 else (np.nan, np.nan)


def _verdict(task: Task, low: float, high: float) -> str:
    if np.isnan(low):
        return ""
    if low <= 0 <= high:
        return "tie"
    return "better" if (low > 0) != task.lower_is_better else "worse"


def lamp_page(rows: pd.DataFrame, failed: Sequence[RunRecord]) -> Page:
    """Return the page of `lamp_rows`: a table per data, task and backbone, and the failed runs."""
    tables = [_table(section) for _, section in rows.groupby(SECTION, sort=False)]
    if failed:
        tables.append(failed_runs(failed))
    return Page("lamp", "LaMP: tasks with users", _READING, rows[LAMP_COLUMNS], tables)


def _table(rows: pd.DataFrame) -> Table:
    first, metrics = rows.iloc[0], [metric for metric in _METRICS if rows[metric].notna().any()]
    titles = [
        *("users", "test rows", "seeds", *(_METRICS[metric] for metric in metrics)),
        f"mean of users ({_METRICS[first['user_metric']]})",
        *_TITLES.values(),
        *(f"vs {name}" for name in REFERENCES),
    ]
    columns = [
        *texts("method", "profiles"),
        *numbers(*titles),
        *texts(*(f"verdict vs {name}" for name in REFERENCES)),
    ]
    lines = [_line(row, metrics) for row in rows.to_dict("records")]
    title = f"{first['data']} data, {first['task']}, {first['backbone']}"
    return Table(title, columns, lines, list(_notes(rows)))


def _notes(rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    minimum = " or ".join(map(str, sorted(rows["min_user_rows"].dropna().unique())))
    yield f"Data {first['fingerprint']}, weights {first['checksum']}; users with at least {minimum} rows."
    yield _NOT_COMPARABLE
    if first["data"].startswith(SAMPLE):
        yield SAMPLE_NOTE.format("LaMP")
    yield from map(escape, first["deviations"])
    for row in rows[rows["diverged"].fillna(0) > 0].to_dict("records"):
        yield (
            f"Diverged trainings of {escape(row['method'])}, profiles {PROTOCOLS[row['profiles']]}: "
            f"{row['diverged']}. Their scores are those of the values at divergence."
        )


def _line(row: Mapping[Any, Any], metrics: Sequence[str]) -> list[Cell]:
    user_metric = row["user_metric"]
    differences = [
        Number(
            row[f"vs_{name}"],
            _format(user_metric, sign=True),
            row[f"vs_{name}_low"],
            row[f"vs_{name}_high"],
            seeds=None if pd.isna(row[f"vs_{name}"]) else row[f"vs_{name}_users"],
        )
        for name in REFERENCES
    ]
    verdicts = [row[f"vs_{name}_verdict"] for name in REFERENCES]
    return [
        *(Text(row["method"]), Text(PROTOCOLS[row["profiles"]])),
        *(Number(row[column], COUNT) for column in ("users", "test_rows", "seeds")),
        *(Number(row[metric], _format(metric)) for metric in metrics),
        Number(row["user_mean"], _format(user_metric), row["user_low"], row["user_high"]),
        *(Number(row[column], COUNT) for column in _TITLES),
        *differences,
        *(Text("" if pd.isna(verdict) else verdict) for verdict in verdicts),
    ]


def _format(metric: str, sign: bool = False) -> Format:
    is_fraction = metric in ("accuracy", "macro_f1")
    return Format(decimals=2, scale=100, sign=sign) if is_fraction else Format(decimals=3, sign=sign)
