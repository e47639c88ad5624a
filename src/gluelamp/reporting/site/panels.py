"""Groups of charts, one per task or per setting of a measurement: their data, and their files."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.labels import plural, task_name, task_names
from gluelamp.reporting.rendering import POINTS
from gluelamp.reporting.site import charts
from gluelamp.reporting.site.charts import FAMILIES, Family
from gluelamp.reporting.tables.search import BUDGETS, SCOPE, search_title


@dataclass(frozen=True)
class Panels:
    """Charts that belong together.

    Args:
        name: in the names of files.
        title: what they show.
        reading: how to read them.
        charts: each as wide as there is space for.
        has_legend: whether each chart has its own legend on the page. Families have one for all charts.
    """

    name: str
    title: str
    reading: str
    charts: Sequence[alt.LayerChart]
    has_legend: bool = False


# Two charts of this width fit a column of text.
_FIGURE_CHART_WIDTH = 360  # pixels
_FIGURE_COLUMNS = 2
_PNG_SCALE = 1.5
_LINE_HEIGHT = 0.06  # height of a name, as a fraction of the chart's height
_LETTER_DECADES = 0.15  # width of a letter on the logarithmic axis of costs
_COLUMNS = {"stored_bytes": "method_bytes", "trained": "trained"}
_TRADE_OFF = (
    "Bars are 95 % intervals. The line connects the methods with the highest mean at their cost or below; it "
    "ignores the intervals. A dashed line is a method without this cost."
)
_CURVES = "Mean score over seeds on the validation rows after each evaluation. The best epoch is optimistic."
_LATENCY = (
    "Median ratio of paired passes, with its 95 % interval. Left of the dashed line is faster than the bare "
    "backbone. A title has the batch size x the tokens of a sequence."
)
_MACHINE = ["backbone", "device", "processor", "dtype", "threads"]
_RATIO = {"value": "to_base", "low": "low", "high": "high"}
_SEARCH = (
    "Expected best mean score over tasks of 1, 4 and 12 trials of a method's search, with its 95 % interval "
    "from the bootstrap over trials. Scores are on rows of the training split."
)


def score_panels(
    rows: pd.DataFrame,
    averages: pd.DataFrame,
    tasks: Sequence[str],
    families: Mapping[str, Family],
    records: Mapping[Path, Sequence[RunRecord]],
) -> Iterator[Panels]:
    """Yield the charts of scores: their average, each task against each cost, and learning curves.

    Args:
        rows: of `gluelamp.reporting.summary.common_settings`, of one source of data and one backbone.
        averages: of `gluelamp.reporting.summary.task_averages`, of the same rows.
        tasks: one chart each.
        families: by method.
        records: of the runs with all seeds, by the folder of the first.
    """
    shown = [family for family in FAMILIES.values() if family in families.values()]
    on_task = {task: rows[rows["task"] == task].to_dict("records") for task in tasks}
    if len(averages):
        sizes = rows.drop_duplicates("label")[["label", *_COLUMNS.values()]]
        title = f"Average of {task_names(averages['tasks'].iloc[0])}"
        cells = _costs(averages.merge(sizes, on="label").to_dict("records"), families, "stored_bytes")
        chart = charts.trade_off(cells, "stored_bytes", shown, title)
        yield Panels("average", "Average score against bytes stored for the task", _TRADE_OFF, [chart])
    for cost, title in charts.COSTS.items():
        specifications = [
            charts.trade_off(_costs(on_task[task], families, cost), cost, shown, task_name(task))
            for task in tasks
        ]
        yield Panels(cost.replace("_", "-"), f"Score against {title}", _TRADE_OFF, specifications)
    curves = [
        charts.learning_curves(_history(on_task[task], families, records), shown, task_name(task))
        for task in tasks
    ]
    yield Panels("learning-curves", "Learning curves", _CURVES, curves)


def latency_panels(rows: pd.DataFrame) -> Iterator[Panels]:
    """Yield the charts of latencies: one group per backbone and machine, one chart per input size.

    Args:
        rows: of `gluelamp.reporting.measurements.measurement_rows`.
    """
    if not {"ratio_low", "ratio_high"} <= set(rows.columns):
        return
    # A ratio without an interval comes from passes that were not paired: it is no evidence.
    measured = rows.dropna(subset=["ratio_low", "ratio_high"])
    for machine, on_machine in measured.groupby(_MACHINE, dropna=False):
        states = sorted(set(on_machine["state"]))
        specifications = [
            charts.latency(_ratios(inputs), states, f"{batch} x {length} tokens")
            for (batch, length), inputs in on_machine.groupby(["batch", "length"])
        ]
        # Times of different machines are not comparable, and neither are those of two backbones.
        title = "{}, {}, {}, {}, {} threads".format(*machine)
        yield Panels("-".join(re.findall(r"\w+", title)), title, _LATENCY, specifications, has_legend=True)


def search_panels(rows: pd.DataFrame) -> Iterator[Panels]:
    """Yield the charts of the score against the number of trials: one group per search.

    Args:
        rows: of `gluelamp.reporting.tables.search.search_rows`.
    """
    for number, (_, search) in enumerate(rows.groupby(SCOPE, sort=False), 1):
        shown = search[search["k"].isin(BUDGETS)].sort_values("score", ascending=False, kind="stable")
        budgets = [plural(k, "trial") for k in BUDGETS if k in set(shown["k"])]
        title = search_title(search)
        chart = charts.search_budget(_expected(shown), budgets, title)
        name = "budget" if number == 1 else f"budget-{number}"
        yield Panels(name, "Score against search budget", _SEARCH, [chart], has_legend=True)


def _expected(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{"method": row["method"], "state": plural(row["k"], "trial")},
            **{"value": _points(row["expected"]), "low": _points(row["low"]), "high": _points(row["high"])},
            "interval": f"{POINTS.text(row['low'])} to {POINTS.text(row['high'])}",
        }
        for row in rows.to_dict("records")
    ]


def _costs(
    scores: Sequence[Mapping[Any, Any]], families: Mapping[str, Family], cost: str
) -> list[dict[str, Any]]:
    rows = [
        {
            "method": row["label"],
            "family": families[row["label"]].name,
            **{"score": _points(row["mean"]), "low": _points(row["low"]), "high": _points(row["high"])},
            "interval": "unknown"
            if pd.isna(row["low"])
            else f"{POINTS.text(row['low'])} to {POINTS.text(row['high'])}",
            "seeds": int(row["seeds"]),
            cost: int(row[_COLUMNS[cost]]),
        }
        for row in scores
        if not pd.isna(row[_COLUMNS[cost]]) and not pd.isna(row["mean"])
    ]
    # The front: methods that no other method dominates in score and cost.
    front = [row for row in rows if not any(_dominates(other, row, cost) for other in rows)]
    labelled = _with_space(front, rows, cost)
    return [{**row, "front": row in front, "label": row in labelled} for row in rows]


def _dominates(one: Mapping[str, Any], other: Mapping[str, Any], cost: str) -> bool:
    is_equal = (one["score"], one[cost]) == (other["score"], other[cost])
    return not is_equal and one["score"] >= other["score"] and one[cost] <= other[cost]


def _with_space(
    front: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], cost: str
) -> list[Mapping[str, Any]]:
    """Return the rows of the front, the best first, whose names do not overlap in the chart."""
    # From the best score downwards, a name is left out if it would overlap with the one above it. The
    # height of a line is known only in the units of the score axis, which spans all intervals.
    ends = [row[end] for row in rows for end in ("low", "score", "high") if row[end] is not None]
    labelled: list[Mapping[str, Any]] = []
    for row in sorted(front, key=lambda row: -row["score"]):
        if not (labelled and _overlap(row, labelled[-1], cost, _LINE_HEIGHT * (max(ends) - min(ends)))):
            labelled.append(row)
    return labelled


def _overlap(row: Mapping[str, Any], above: Mapping[str, Any], cost: str, line: float) -> bool:
    """Return whether two names, each left of its point, overlap."""
    if row[cost] == 0:  # a horizontal line, with its name at the right border
        return False
    # Costs grow to the right, and on the front the better method costs more. Its name extends to the left,
    # towards the point below it, by its number of letters.
    distance = math.log10(above[cost] / row[cost])
    return distance <= _LETTER_DECADES * len(above["method"]) and above["score"] - row["score"] <= line


def _history(
    scores: Sequence[Mapping[Any, Any]],
    families: Mapping[str, Family],
    records: Mapping[Path, Sequence[RunRecord]],
) -> list[dict[str, Any]]:
    # The epoch of an evaluation is a number of steps over steps per epoch. Rounding unites the seeds.
    evaluations = [
        (row["label"], round(float(entry["epoch"] or 0), 3), entry[record.main_metric])
        for row in scores
        for record in records[row["folders"][0]]
        for entry in record.history
    ]
    frame = pd.DataFrame(evaluations, columns=["method", "epoch", "score"])
    means = frame.groupby(["method", "epoch"])["score"].agg(score="mean", seeds="size").reset_index()
    return [
        {**row, "score": _points(row["score"]), "family": families[row["method"]].name}
        for row in means.to_dict("records")
    ]


def _ratios(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            **{"method": row["method"], "state": row["state"]},
            **{key: round(row[f"ratio_{column}"], 4) for key, column in _RATIO.items()},
            "interval": f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}",
        }
        for row in rows.sort_values("ratio_to_base", kind="stable").to_dict("records")
    ]


def _points(fraction: float) -> float | None:
    return None if pd.isna(fraction) else round(100 * fraction, 2)


def figure_files(folder: Path, name: str, panels: Panels) -> dict[Path, bytes]:
    """Return the content of the files of one figure.

    Args:
        folder: of the files.
        name: of the files, without their suffixes.
        panels: its charts.
    """
    import vl_convert  # slow to import

    # Drawing is the slow part. It is done once; the other formats are converted from the SVG.
    svg = vl_convert.vegalite_to_svg(figure(panels), config=charts.LIGHT)
    return {
        folder / f"{name}.svg": svg.encode(),
        folder / f"{name}.png": vl_convert.svg_to_png(svg, scale=_PNG_SCALE),
        folder / f"{name}.pdf": _reproducible(vl_convert.svg_to_pdf(svg)),
    }


def figure(panels: Panels) -> dict[str, Any]:
    """Return one specification with all charts, in rows, and a legend."""
    columns = min(len(panels.charts), _FIGURE_COLUMNS)
    width = _FIGURE_CHART_WIDTH * _FIGURE_COLUMNS // columns
    figure_charts = [chart.properties(width=width) for chart in panels.charts]
    return charts.specification(alt.concat(*figure_charts, columns=_FIGURE_COLUMNS, title=panels.title))


def _reproducible(pdf: bytes) -> bytes:
    """Return a PDF with the same bytes for the same chart: the converter writes objects in a random order."""
    # Its import logs a line of its own, which would be between the names of the written files.
    logging.getLogger("pikepdf").setLevel(logging.WARNING)
    import pikepdf

    ordered = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(ordered, deterministic_id=True)
    return ordered.getvalue()
