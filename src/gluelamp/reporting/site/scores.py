"""What is known of the methods of one source of data and one backbone, method by method and task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.reporting.entries import Entry, score_rows
from gluelamp.reporting.formats import points
from gluelamp.reporting.site.cells import Key, RunCell
from gluelamp.reporting.site.families import FAMILIES, Family
from gluelamp.reporting.ties import comparable, possibly_best
from gluelamp.tasks.glue import GLUE

Place = tuple[str, str]
"""Method and task."""


class Scores:
    """One setting a method, on each task that it ran on.

    Args:
        some: the entries of one source of data and one backbone, at least one.
        cells: all cells of the page.
    """

    def __init__(self, some: Sequence[Entry], cells: Mapping[Key, RunCell]) -> None:
        by_identity = {record.identity: cell for cell in cells.values() for record in cell.records}
        self.entries = some
        self.tasks = sorted({one.task for one in some}, key=list(GLUE).index)
        self.cells = {(one.label, one.task): by_identity[one.record.identity] for one in some}
        self.families: dict[str, Family] = {one.label: self.cells[one.label, one.task].family for one in some}
        self.methods = sorted(self.families, key=lambda name: (FAMILIES.index(self.families[name]), name))
        rows = score_rows(some)
        self._rows = dict(
            zip(zip(rows["label"], rows["task"], strict=True), rows.to_dict("records"), strict=True)
        )
        self._tops = {place for task in self.tasks for place in self._tops_of(task)}

    def row(self, method: str, task: str) -> Mapping[str, Any] | None:
        """Return score and sizes of a method on a task, as `score_rows` does; None if it did not run."""
        return self._rows.get((method, task))

    def on_task(self, task: str) -> list[Mapping[str, Any]]:
        """Return the rows of all methods on a task."""
        found = (self.row(method, task) for method in self.methods)
        return [row for row in found if row is not None]

    def is_top(self, method: str, task: str) -> bool:
        """Return whether no method is better than this one on a task."""
        return (method, task) in self._tops

    def _tops_of(self, task: str) -> Iterator[Place]:
        scored = [one for one in self.entries if one.task == task and not np.isnan(one.scores()).any()]
        cells = comparable({one.label: one.cell for one in scored})
        return ((method, task) for method in (possibly_best(cells) if cells else ()))


def interval(row: Mapping[str, Any]) -> str:
    """Return the 95 % interval of a score, in points; empty if it is not known."""
    return "" if pd.isna(row["low"]) else f"{points(row['low'])} to {points(row['high'])}"
