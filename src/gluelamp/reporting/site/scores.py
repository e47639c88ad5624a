"""What is known of the methods of one source of data and one backbone, method by method and task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from gluelamp.reporting.rendering import POINTS
from gluelamp.reporting.site.cells import Key, RunCell
from gluelamp.reporting.site.families import FAMILIES, Family
from gluelamp.reporting.statistics import comparable, possibly_best
from gluelamp.tasks.glue import GLUE

Place = tuple[str, str]
"""Method and task."""


class Scores:
    """One setting a method, on each task that it ran on.

    Args:
        rows: those of `common_settings`, of one source of data and one backbone.
        cells: all cells of the page.
    """

    def __init__(self, rows: pd.DataFrame, cells: Mapping[Key, RunCell]) -> None:
        self._rows = {(row["label"], row["task"]): row for row in rows.to_dict("records")}
        self.tasks = [task for task in GLUE if task in set(rows["task"])]
        self.cells = {
            place: cells[row["data"], row["backbone"], row["variant"], row["task"]]
            for place, row in self._rows.items()
        }
        self.families: dict[str, Family] = {label: cell.family for (label, _), cell in self.cells.items()}
        self.methods = sorted(self.families, key=lambda name: (FAMILIES.index(self.families[name]), name))
        self._tops = {place for task in self.tasks for place in self._tops_of(task)}

    def row(self, method: str, task: str) -> Mapping[str, Any] | None:
        """Return score and sizes of a method on a task, as `common_settings` does; None if it did not run."""
        return self._rows.get((method, task))

    def on_task(self, task: str) -> list[Mapping[str, Any]]:
        """Return the rows of all methods on a task."""
        found = (self.row(method, task) for method in self.methods)
        return [row for row in found if row is not None]

    def is_top(self, method: str, task: str) -> bool:
        """Return whether no method is better than this one on a task."""
        return (method, task) in self._tops

    def _tops_of(self, task: str) -> Iterator[Place]:
        scored = [row for row in self.on_task(task) if not pd.isna(row["mean"])]
        methods = comparable({row["label"]: row["predictions"] for row in scored})
        return ((method, task) for method in (possibly_best(methods) if methods else ()))


def interval(row: Mapping[str, Any]) -> str:
    """Return the 95 % interval of a score, in points; empty if it is not known."""
    return "" if pd.isna(row["low"]) else f"{POINTS.text(row['low'])} to {POINTS.text(row['high'])}"
