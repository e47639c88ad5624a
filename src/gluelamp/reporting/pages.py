"""Old names of `gluelamp.reporting.rendering`, until all tables are built from typed cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.rendering import (
    Column,
    Page,
    Span,
    Table,
    Text,
    as_csv,
    page_files,
    table_as_markdown,
    texts,
)
from gluelamp.reporting.rendering.prose import parse

__all__ = ["Grid", "Page", "as_csv", "failures", "grid_as_markdown", "page_files"]

_NUMBER = re.compile(r"[-+−]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
grid_as_markdown = table_as_markdown


@dataclass(frozen=True)
class _Printed(Text):
    """A cell that was printed in Markdown already."""

    @property
    def order(self) -> float | None:
        found = _NUMBER.search(self.text)
        return float(found[0].replace(",", "").replace("−", "-")) if found else None

    def spans(self) -> list[Span]:
        return parse(self.text)


def Grid(  # noqa: N802
    title: str, cells: pd.DataFrame, texts: int = 1, last_texts: int = 0, notes: Sequence[str] = ()
) -> Table:
    """Return a table from cells in Markdown; `texts` leading and `last_texts` last columns are text."""
    numbers = range(texts, len(cells.columns) - last_texts)
    columns = [Column(name, place in numbers) for place, name in enumerate(cells)]
    return Table(
        title, columns, [[_Printed(text) for text in row] for row in cells.to_numpy().tolist()], notes
    )


def failures(failed: Sequence[RunRecord]) -> Table:
    """Return the table of the runs that failed, with their messages."""
    lines = [
        [
            *(record.config[part]["name"] for part in ("backbone", "method", "task")),
            str(record.config["seed"]),
            record.error or "no message",
        ]
        for record in failed
    ]
    columns = texts("backbone", "method", "task", "seed", "error")
    return Table("Failed runs", columns, [[Text(text) for text in line] for line in sorted(lines)])
