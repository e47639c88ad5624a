"""The table of the tasks with persons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.aggregation import SAMPLE
from gluelamp.reporting.lamp import LAMP_COLUMNS, REFERENCES, SECTION
from gluelamp.reporting.markdown import literal
from gluelamp.reporting.pages import Grid, Page, failures

LAMP_SAMPLE_NOTE = (
    "The bundled sample is synthetic: it shows that the machinery runs and says nothing about LaMP."
)
NOT_COMPARABLE = (
    "Not comparable with published LaMP or X-PEFT numbers: each person's rows are split here, from what "
    "the records of this copy hold."
)
_READING = (
    "Scores on the test rows after the last epoch: no epoch is selected, since a person has few validation "
    "rows. Accuracy, over all rows pooled, and macro-F1, over all labels of the task, are times 100, and "
    "differences too; of MAE and RMSE less is better. Scores are averaged over seeds first.",
    "**one adaptation for**: *all* persons together; *each* person; *all, then each*: each person's begins "
    "with that of all. Trained values and bytes are those of one adaptation, and of its head. Shared bytes "
    "are stored once, however many adaptations there are.",
    "**mean of persons**: of the accuracy (or MAE) of each; all count alike. In brackets: the 95 % interval, "
    "a bootstrap over persons, which says nothing about other seeds.",
    "**vs head_only**, **vs pfeiffer**: the mean over persons of the row's score minus the other method's, "
    "under the same protocol, its 95 % interval, and how many persons both have. The verdict is *tie* if the "
    "interval contains 0; that of two equal methods misses 0 once in twenty times, and it is not corrected "
    "for the number of rows. Empty where there is no such run, or where of several not exactly one is on the "
    "same choice of persons for as many epochs.",
    "**majority**, **median**: the most frequent class, or the median score, of the training rows of all "
    "persons or of the person's own.",
)
_PROTOCOLS = {"shared": "all", "each": "each", "shared_then_each": "all, then each"}
_METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mae": "MAE", "rmse": "RMSE"}
_COUNTS = {"persons": "persons", "test_rows": "test rows", "seeds": "seeds"}
_COSTS = {
    "trained": "trained values",
    "method_bytes": "bytes",
    "head_bytes": "head bytes",
    "shared_bytes": "shared bytes",
}
_FRACTIONS = ("accuracy", "macro_f1")


def lamp_page(rows: pd.DataFrame, failed: Sequence[RunRecord]) -> Page:
    """Return the page: a table per data, task and backbone, and the failures.

    Args:
        rows: the rows of `gluelamp.reporting.lamp.lamp_rows`; may be empty.
        failed: the runs that failed.
    """
    grids = [_grid(section) for _, section in rows.groupby(SECTION, sort=False)]
    if failed:
        grids.append(failures(failed))
    return Page("lamp", "LaMP: tasks with persons", _READING, rows[LAMP_COLUMNS], grids)


def _grid(rows: pd.DataFrame) -> Grid:
    first, metrics = rows.iloc[0], _metrics(rows)
    cells = pd.DataFrame([_line(row, metrics) for row in rows.to_dict("records")])
    title = f"{first['data']} data, {first['task']}, {first['backbone']}"
    return Grid(title, cells, texts=2, last_texts=len(REFERENCES), notes=list(_notes(rows)))


def _notes(rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    least = " or ".join(map(str, sorted(rows["min_user_rows"].dropna().unique())))
    yield f"Data {first['fingerprint']}, weights {first['checksum']}; persons with at least {least} rows."
    yield NOT_COMPARABLE
    if first["data"].startswith(SAMPLE):
        yield LAMP_SAMPLE_NOTE
    yield from first["deviations"]
    for row in rows[rows["diverged"].fillna(0) > 0].to_dict("records"):
        yield (
            f"Trainings that diverged with {literal(row['method'])}, one adaptation for "
            f"{_PROTOCOLS[row['users']]}: {row['diverged']}. Their rows count as they left them."
        )


def _metrics(rows: pd.DataFrame) -> list[str]:
    return [metric for metric in _METRICS if rows[metric].notna().any()]


def _line(row: Mapping[Any, Any], metrics: Sequence[str]) -> dict[str, str]:
    person = row["person_metric"]
    mean, low, high = (row[f"person_{part}"] for part in ("mean", "low", "high"))
    return {
        "method": literal(row["method"]),
        "one adaptation for": _PROTOCOLS[row["users"]],
        **{title: _whole(row[column]) for column, title in _COUNTS.items()},
        **{_METRICS[metric]: _number(metric, row[metric]) for metric in metrics},
        f"mean of persons ({_METRICS[person]})": _number(person, mean) + _interval(person, low, high),
        **{title: _whole(row[column]) for column, title in _COSTS.items()},
        **{f"vs {name}": _difference(row, name) for name in REFERENCES},
        **{f"verdict vs {name}": _text(row[f"vs_{name}_verdict"]) for name in REFERENCES},
    }


def _difference(row: Mapping[Any, Any], name: str) -> str:
    difference, low, high = (row[f"vs_{name}{part}"] for part in ("", "_low", "_high"))
    if pd.isna(difference):
        return ""
    metric, persons = row["person_metric"], row[f"vs_{name}_persons"]
    return f"{_number(metric, difference, '+')}{_interval(metric, low, high, '+')} ({persons})"


def _interval(metric: str, low: float, high: float, sign: str = "") -> str:
    return "" if pd.isna(low) else f" [{_number(metric, low, sign)}, {_number(metric, high, sign)}]"


def _number(metric: str, value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}z.2f}" if metric in _FRACTIONS else f"{value:{sign}z.3f}"


def _whole(value: object) -> str:
    return "" if pd.isna(value) else f"{value:,}"


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)
