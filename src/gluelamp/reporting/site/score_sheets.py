"""The tables of scores: all tasks side by side, and each task in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.reporting.formats import count, points, task_name
from gluelamp.reporting.site.cells import Key, RunCell
from gluelamp.reporting.site.scores import Scores, interval, number
from gluelamp.reporting.site.sheets import Field, Sheet

SELECTIONS = {"held_out": "held-out epoch", "best": "best epoch", "last": "last epoch"}
_SIZES = {
    "trained": ("parameters", "trained"),
    "stored bytes": ("bytes", "method"),
    "shared bytes": ("bytes", "shared"),
}


def overview(scores: Scores) -> Sheet:
    """Return one row a method and one column a task."""
    header = ["method", *map(task_name, scores.tasks), "trained", "stored bytes"]
    rows = [_overview_row(scores, method) for method in scores.methods]
    return Sheet("All tasks", header, [False, *[True] * (len(header) - 1)], rows)


def _overview_row(scores: Scores, method: str) -> list[Field]:
    rows = {task: scores.row(method, task) for task in scores.tasks}
    first = next(row for row in rows.values() if row is not None)
    sizes = [_count(first[key]) for key in ("trained", "method_bytes")]
    fields = [Field("") if row is None else _cell(scores, row) for row in rows.values()]
    return [Field(method, family=scores.families[method]), *fields, *sizes]


def _cell(scores: Scores, row: Mapping[str, Any]) -> Field:
    place = (row["label"], row["task"])
    return Field(_mean(row), number(row["mean"]), scores.cells[place].slug, scores.is_top(*place))


def task_sheet(rows: pd.DataFrame, cells: Mapping[Key, RunCell]) -> Sheet:
    """Return one row a method and setting, with the scores of every selection.

    Args:
        rows: those of `summarise`, of one source, backbone and task.
        cells: all cells of the page.
    """
    main = rows[rows["is_main"]]
    shown = [name for name in SELECTIONS if name in set(main["selection"])]
    first, *others = (SELECTIONS[name] for name in shown)
    header = ["method", first, "95 % interval", *others, "published", "seeds", "epochs", *_SIZES]
    fields = [_task_row(of_method, shown, cells) for _, of_method in main.groupby("method", sort=False)]
    title = f"{task_name(main['task'].iloc[0])} ({main['metric'].iloc[0].replace('_', ' ')})"
    return Sheet(title, header, [False, *[True] * (len(header) - 1)], fields)


def _task_row(rows: pd.DataFrame, shown: Sequence[str], cells: Mapping[Key, RunCell]) -> list[Field]:
    selected = {row["selection"]: row for row in rows.to_dict("records")}
    any_row = next(iter(selected.values()))
    cell = cells[any_row["data"], any_row["backbone"], any_row["method"], any_row["task"]]
    first, *others = (selected.get(name) for name in shown)
    sizes = (getattr(cell.record, part).get(key) for part, key in _SIZES.values())
    return [
        Field(cell.key[2], opens=cell.slug, family=cell.family),
        _score(first),
        _interval(first),
        *map(_score, others),
        Field(points(any_row["published"]), number(any_row["published"])),
        *map(_count, (any_row["seeds"], any_row["epochs"], *sizes)),
    ]


def _score(row: Mapping[str, Any] | None) -> Field:
    return Field("") if row is None else Field(_mean(row), number(row["mean"]))


def _interval(row: Mapping[str, Any] | None) -> Field:
    return Field("") if row is None else Field(interval(row), number(row["low"]))


def _mean(row: Mapping[str, Any]) -> str:
    return points(row["mean"]) + (f" ± {points(row['std'])}" if row["seeds"] > 1 else "")


def _count(value: Any) -> Field:
    return Field(count(value), number(value))
