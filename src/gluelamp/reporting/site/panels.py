"""Charts of one kind, one a task or one a setting of a measurement."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from gluelamp.reporting.site import charts
from gluelamp.reporting.site.families import FAMILIES
from gluelamp.reporting.site.scores import Scores, interval
from gluelamp.reporting.titles import task_name


@dataclass(frozen=True)
class Panels:
    """Charts that belong together.

    Args:
        name: in the names of files.
        title: what they show.
        reading: how to read them.
        charts: as wide as there is room for.
        legend: whether each has one on the page, where families have one for all.
    """

    name: str
    title: str
    reading: str
    charts: Sequence[alt.LayerChart]
    legend: bool = False


_LINE = 0.06  # the height of a name, as a share of the chart's
_LETTER_DECADES = 0.15  # the width of a letter on the axis of costs
_COLUMNS = {"stored_bytes": "method_bytes", "trained": "trained"}
_TRADE_OFF = (
    "Bars are 95 % intervals. The line joins the methods whose mean no other beats at their cost or below; "
    "it knows nothing of intervals. A dashed line is a method that costs nothing of it."
)
_CURVES = (
    "Score on the validation rows after each evaluation, the mean over seeds. Its best epoch is optimistic."
)
_LATENCY = "Median ratio of paired passes, with its 95 % interval. Left of the dashed line is faster."
_MACHINE = ["backbone", "device", "processor", "dtype", "threads"]
_RATIO = {"ratio": "to_base", "low": "low", "high": "high"}


def score_panels(scores: Scores) -> Iterator[Panels]:
    """Yield the charts of scores: against each cost, and while learning."""
    families = [family for family in FAMILIES if family in scores.families.values()]
    for cost, title in charts.COSTS.items():
        drawn = [
            charts.trade_off(_costs(scores, task, cost), cost, families, task_name(task))
            for task in scores.tasks
        ]
        yield Panels(cost.replace("_", "-"), f"Score against {title}", _TRADE_OFF, drawn)
    curves = [
        charts.learning_curves(_history(scores, task), families, task_name(task)) for task in scores.tasks
    ]
    yield Panels("learning-curves", "Learning curves", _CURVES, curves)


def latency_panels(rows: pd.DataFrame) -> Iterator[Panels]:
    """Yield the charts of a table of latencies: one group a backbone and machine, one chart an input size.

    Args:
        rows: those of `measurement_rows`.
    """
    if not {"ratio_low", "ratio_high"} <= set(rows.columns):
        return
    known = rows.dropna(subset=["ratio_low", "ratio_high"])
    for machine, some in known.groupby(_MACHINE, dropna=False):
        states = sorted(set(some["state"]))
        drawn = [
            charts.latency(_ratios(of_input), states, f"{batch} x {length} tokens")
            for (batch, length), of_input in some.groupby(["batch", "length"])
        ]
        title = "{}, {}, {}, {}, {} threads".format(*machine)
        yield Panels("-".join(re.findall(r"\w+", title)), title, _LATENCY, drawn, legend=True)


def _costs(scores: Scores, task: str, cost: str) -> list[dict[str, Any]]:
    column = _COLUMNS[cost]
    rows = [
        {
            "method": row["label"],
            "family": scores.families[row["label"]].name,
            **{"score": _points(row["mean"]), "low": _points(row["low"]), "high": _points(row["high"])},
            "interval": interval(row) or "unknown",
            "seeds": int(row["seeds"]),
            cost: int(row[column]),
        }
        for row in scores.on_task(task)
        if not pd.isna(row[column]) and not pd.isna(row["mean"])
    ]
    front = [row for row in rows if not any(_beats(other, row, cost) for other in rows)]
    labels = _with_room(front, rows, cost)
    return [{**row, "front": row in front, "label": row in labels} for row in rows]


def _beats(one: Mapping[str, Any], other: Mapping[str, Any], cost: str) -> bool:
    ours, theirs = (one["score"], -one[cost]), (other["score"], -other[cost])
    return ours != theirs and ours[0] >= theirs[0] and ours[1] >= theirs[1]


def _with_room(
    front: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], cost: str
) -> list[Mapping[str, Any]]:
    """The rows of the front, the best first, whose names do not fall on one another."""
    ends = [row[end] for row in rows for end in ("low", "score", "high") if row[end] is not None]
    found: list[Mapping[str, Any]] = []
    for row in sorted(front, key=lambda row: -row["score"]):
        if not (found and _is_near(row, found[-1], cost, _LINE * (max(ends) - min(ends)))):
            found.append(row)
    return found


def _is_near(row: Mapping[str, Any], named: Mapping[str, Any], cost: str, line: float) -> bool:
    is_left = row[cost] == 0 or math.log10(named[cost] / row[cost]) > _LETTER_DECADES * len(named["method"])
    return not is_left and named["score"] - row["score"] <= line


def _history(scores: Scores, task: str) -> list[dict[str, Any]]:
    entries = [
        (method, round(entry["epoch"], 3), entry[record.main_metric])
        for method in scores.methods
        if (method, task) in scores.cells
        for record in scores.cells[method, task].records
        for entry in record.history
    ]
    seeds = pd.DataFrame(entries, columns=["method", "epoch", "score"]).groupby(["method", "epoch"])["score"]
    means = seeds.agg(score="mean", seeds="size").reset_index().to_dict("records")
    return [
        {**row, "score": _points(row["score"]), "family": scores.families[row["method"]].name}
        for row in means
    ]


def _ratios(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{"method": row["method"], "state": row["state"]},
            **{key: round(row[f"ratio_{of}"], 4) for key, of in _RATIO.items()},
            "interval": f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}",
        }
        for row in rows.sort_values("ratio_to_base", kind="stable").to_dict("records")
    ]


def _points(fraction: float) -> float | None:
    return None if pd.isna(fraction) else round(100 * fraction, 2)
