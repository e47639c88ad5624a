"""The table of the tasks whose rows belong to users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.aggregation import SAMPLE
from gluelamp.reporting.lamp import LAMP_COLUMNS, REFERENCES, SECTION
from gluelamp.reporting.pages import failures
from gluelamp.reporting.rendering import EMPTY, Cell, Column, Format, Number, Page, Table, Text, escape

LAMP_SAMPLE_NOTE = "The bundled sample is synthetic. It shows that the code runs, not a result on LaMP."
NOT_COMPARABLE = (
    "Not comparable with published LaMP or X-PEFT numbers: the rows of each user are split here, from the "
    "records of this copy."
)
_READING = (
    "Scores on the test rows after the last epoch. No epoch is selected, since a user has few validation "
    "rows. Accuracy over the pooled rows and macro-F1 over all labels of the task are times 100, and so are "
    "their differences. For MAE and RMSE, less is better. Scores are averaged over seeds first.",
    "**one adaptation for**: *all* users together; *each* user; *all, then each*: that of each user starts "
    "from that of all users. Trained values and bytes are those of one adaptation, and of its head. Shared "
    "bytes are stored once for all adaptations.",
    "**mean over users**: of the accuracy (or MAE) of each user; all users have equal weights. In brackets: "
    "the 95 % interval by a bootstrap over users. It does not cover the variation over seeds.",
    "**vs head_only**, **vs pfeiffer**: the mean over users of the score of this row - that of the other "
    "method under the same protocol, with its 95 % interval and the number of users that both have. The "
    "verdict is *tie* if the interval contains 0. For two equal methods it misses 0 in one of twenty "
    "comparisons; there is no correction for the number of rows. A cell is empty where no run, or more than "
    "one, has the same users and the same number of epochs.",
    "**majority**, **median**: the most frequent class, or the median score, of the training rows of all "
    "users or of the user's own.",
)
_PROTOCOLS = {"shared": "all", "each": "each", "shared_then_each": "all, then each"}
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mae": "MAE", "rmse": "RMSE"}
_FORMATS = {
    **dict.fromkeys(("accuracy", "macro_f1"), Format(decimals=2, scale=100)),
    **dict.fromkeys(("mae", "rmse"), Format(decimals=3)),
}
_COUNTS = {"persons": "users", "test_rows": "test rows", "seeds": "seeds"}
_COSTS = {
    "trained": "trained values",
    "method_bytes": "bytes",
    "head_bytes": "head bytes",
    "shared_bytes": "shared bytes",
}


def lamp_page(rows: pd.DataFrame, failed: Sequence[RunRecord]) -> Page:
    """Return the page: a table per data, task and backbone, and the failures.

    Args:
        rows: the rows of `gluelamp.reporting.lamp.lamp_rows`; may be empty.
        failed: the runs that failed.
    """
    tables = [_table(section) for _, section in rows.groupby(SECTION, sort=False)]
    if failed:
        tables.append(failures(failed))
    return Page("lamp", "LaMP: tasks with users", _READING, rows[LAMP_COLUMNS], tables)


def _table(rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    metrics = [metric for metric in _METRICS if rows[metric].notna().any()]
    lines = [_line(row, metrics) for row in rows.to_dict("records")]
    title = f"{first['data']} data, {first['task']}, {first['backbone']}"
    is_text = ("method", "one adaptation for", *(f"verdict vs {name}" for name in REFERENCES))
    columns = [Column(name, name not in is_text) for name in lines[0]]
    return Table(title, columns, [list(line.values()) for line in lines], list(_notes(rows)))


def _line(row: Mapping[Any, Any], metrics: Sequence[str]) -> dict[str, Cell]:
    main = row["person_metric"]
    mean = Number(row["person_mean"], _FORMATS[main], row["person_low"], row["person_high"])
    verdicts = {name: row[f"vs_{name}_verdict"] for name in REFERENCES}
    return {
        "method": Text(row["method"]),
        "one adaptation for": Text(_PROTOCOLS[row["users"]]),
        **{title: Number(row[column]) for column, title in _COUNTS.items()},
        **{_METRICS[metric]: Number(row[metric], _FORMATS[metric]) for metric in metrics},
        f"mean over users ({_METRICS[main]})": mean,
        **{title: Number(row[column]) for column, title in _COSTS.items()},
        **{f"vs {name}": _difference(row, name) for name in REFERENCES},
        **{
            f"verdict vs {name}": EMPTY if pd.isna(verdict) else Text(verdict)
            for name, verdict in verdicts.items()
        },
    }


def _difference(row: Mapping[Any, Any], name: str) -> Cell:
    difference, low, high = (row[f"vs_{name}{part}"] for part in ("", "_low", "_high"))
    if pd.isna(difference):
        return EMPTY
    signed = replace(_FORMATS[row["person_metric"]], sign=True)
    return Number(difference, signed, low, high, comment=str(row[f"vs_{name}_persons"]))


def _notes(rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    least = " or ".join(map(str, sorted(rows["min_user_rows"].dropna().unique())))
    yield f"Data {first['fingerprint']}, weights {first['checksum']}; users with at least {least} rows."
    yield NOT_COMPARABLE
    if first["data"].startswith(SAMPLE):
        yield LAMP_SAMPLE_NOTE
    yield from first["deviations"]
    for row in rows[rows["diverged"].fillna(0) > 0].to_dict("records"):
        yield (
            f"Diverged runs with {escape(row['method'])}, one adaptation for {_PROTOCOLS[row['users']]}: "
            f"{row['diverged']}. Their rows are scored with diverged values."
        )
