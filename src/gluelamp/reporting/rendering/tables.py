"""Tables and pages: what the renderers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gluelamp.reporting.rendering.cells import Cell


@dataclass(frozen=True)
class Column:
    """The heading of a column.

    Args:
        title: plain text.
        is_number: whether its cells are numbers, aligned right.
    """

    title: str
    is_number: bool = False


def texts(*titles: str) -> list[Column]:
    """Return columns of text."""
    return [Column(title) for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(title, is_number=True) for title in titles]


@dataclass(frozen=True)
class Table:
    """One printed table.

    Args:
        title: what distinguishes it from the other tables of its page; empty if it is the only one.
        columns: the headings.
        rows: the cells, one a column. An empty first cell means: the same as in the row above.
        notes: sentences below it, in Markdown.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check that each row has a cell for each column."""
        # A shorter row would move its cells under the headings of other columns without an error.
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row of table {self.title!r} has {len(row)} cells, not {len(self.columns)}"
                )


@dataclass(frozen=True)
class Page:
    """The tables of one subject, with the files of one name.

    Args:
        name: of its files.
        title: its heading.
        reading: how to read it, one paragraph each, in Markdown.
        data: all results as a data frame, for the CSV file.
        tables: what is printed of them.
    """

    name: str
    title: str
    reading: Sequence[str]
    data: pd.DataFrame
    tables: Sequence[Table]


def as_csv(data: pd.DataFrame) -> str:
    """Return a data frame as CSV, the same bytes for the same numbers on every system."""
    # The last digits of a float differ between platforms; committed tables must not.
    return data.to_csv(index=False, lineterminator="\n", float_format="%.6f")
