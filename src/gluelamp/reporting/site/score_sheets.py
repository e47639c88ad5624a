"""The tables of scores: all tasks side by side, and each task in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.reporting.rendering import EMPTY, POINTS, Cell, Number, Range, Table, Text, numbers, texts
from gluelamp.reporting.scores import SELECTIONS
from gluelamp.reporting.site.cells import Key, RunCell
from gluelamp.reporting.site.scores import Scores
from gluelamp.reporting.titles import task_name

_SIZES = {
    "trained": ("parameters", "trained"),
    "stored bytes": ("bytes", "method"),
    "shared bytes": ("bytes", "shared"),
}


def overview(scores: Scores) -> Table:
    """Return one row a method and one column a task."""
    columns = [*texts("method"), *numbers(*map(task_name, scores.tasks), "trained", "stored bytes")]
    return Table("All tasks", columns, [_overview_row(scores, method) for method in scores.methods])


def _overview_row(scores: Scores, method: str) -> list[Cell]:
    rows = {task: scores.row(method, task) for task in scores.tasks}
    first = next(row for row in rows.values() if row is not None)
    means = [EMPTY if row is None else _linked_mean(scores, row) for row in rows.values()]
    sizes = [Number(first[key]) for key in ("trained", "method_bytes")]
    return [Text(method, symbol=scores.families[method].symbol), *means, *sizes]


def _linked_mean(scores: Scores, row: Mapping[str, Any]) -> Number:
    place = (row["label"], row["task"])
    return _mean(row, bold=scores.is_top(*place), opens=scores.cells[place].slug)


def task_table(rows: pd.DataFrame, cells: Mapping[Key, RunCell]) -> Table:
    """Return one row a method and setting, with the scores of every selection.

    Args:
        rows: those of `summarise`, of one source, backbone and task.
        cells: all cells of the page.
    """
    main = rows[rows["is_main"].astype(bool)]
    shown = [name for name in SELECTIONS if name in set(main["selection"])]
    first, *others = (SELECTIONS[name] for name in shown)
    titles = [first, "95 % interval", *others, "published", "seeds", "epochs", *_SIZES]
    body = [_task_row(of_method, shown, cells) for _, of_method in main.groupby("variant", sort=False)]
    title = f"{task_name(main['task'].iloc[0])} ({main['metric'].iloc[0].replace('_', ' ')})"
    return Table(title, [*texts("method"), *numbers(*titles)], body)


def _task_row(rows: pd.DataFrame, shown: Sequence[str], cells: Mapping[Key, RunCell]) -> list[Cell]:
    selected = {row["selection"]: row for row in rows.to_dict("records")}
    any_row = next(iter(selected.values()))
    cell = cells[any_row["data"], any_row["backbone"], any_row["variant"], any_row["task"]]
    first, *others = (selected.get(name) for name in shown)
    sizes = (getattr(cell.record, part).get(key) for part, key in _SIZES.values())
    return [
        Text(cell.key[2], opens=cell.slug, symbol=cell.family.symbol),
        _mean(first),
        Range(first["low"], first["high"], POINTS, is_interval=True) if first else EMPTY,
        *map(_mean, others),
        Number(any_row["published"], POINTS),
        *map(Number, (any_row["seeds"], any_row["epochs"], *sizes)),
    ]


def _mean(row: Mapping[str, Any] | None, bold: bool = False, opens: str = "") -> Cell:
    if row is None:
        return EMPTY
    std = row["std"] if row["seeds"] > 1 else float("nan")
    return Number(row["mean"], POINTS, std=std, bold=bold, opens=opens)
