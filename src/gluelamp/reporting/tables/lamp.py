"""The table of tasks with users: scores on test rows, pooled and per user, paired with two references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.bootstrap import mean_interval
from gluelamp.records import RunRecord
from gluelamp.reporting.labels import SAMPLE_NOTE
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
from gluelamp.reporting.scores import CHECKSUM_DIGITS, COUNTS, SAMPLE
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.summary import task_order
from gluelamp.reporting.tables.accuracy import failed_runs
from gluelamp.reporting.tables.lamp_scores import PROFILE_NAMES, LampScores, baseline_scores, method_scores
from gluelamp.tasks.task import Task

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
    "signature",
]
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
    place = task_order(runs["task"])
    runs = runs.assign(**short, place=place).sort_values(["data", "place", *SECTION[2:]], kind="stable")
    sections = runs.groupby(SECTION, sort=False)
    rows = [row for section, part in sections for row in _section_rows(section, part)]
    frame = pd.DataFrame(rows, columns=[*LAMP_COLUMNS, "deviations"])
    return frame.astype(dict.fromkeys(_INTEGERS, "Int64"))


def _section_rows(section: tuple[str, ...], runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    task = runs["declaration"].iloc[0]
    deviations = tuple(dict.fromkeys(text for texts in runs["deviations"] for text in texts))
    rows = method_scores(task, runs)
    for row in [*baseline_scores(task, rows), *rows]:
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


def _difference(task: Task, row: LampScores, rows: Sequence[LampScores], name: str) -> dict[str, Any]:
    """Return row - reference over the users of both; empty without a reference or a common user."""
    # The reference has several rows if it ran on several selections of users or epochs. Only the one with the
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
    return Table(title, columns, lines, list(_notes(rows)), common_signature(rows))


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
            f"Diverged trainings of {escape(row['method'])}, profiles {PROFILE_NAMES[row['profiles']]}: "
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
        *(Text(row["method"]), Text(PROFILE_NAMES[row["profiles"]])),
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
