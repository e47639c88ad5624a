"""Tables of the page: cells with a text, a value to sort by and, where there are runs, what they open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markupsafe import Markup

from gluelamp.reporting.pages import Grid
from gluelamp.reporting.site.families import Family

_NUMBER = re.compile(r"[-+−]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
_MARKDOWN = MarkdownIt("js-default", {"html": False})


@dataclass(frozen=True)
class Field:
    """One cell.

    Args:
        text: what it shows, as HTML or plain text.
        order: what it is sorted by in a column of numbers; None where there is none.
        opens: the name of the runs that it opens; empty for none.
        is_top: whether nothing is better than it.
        family: of the method that it names.
    """

    text: str
    order: float | None = None
    opens: str = ""
    is_top: bool = False
    family: Family | None = None


@dataclass(frozen=True)
class Sheet:
    """One table.

    Args:
        title: its caption.
        header: the titles of its columns.
        numbers: of each column, whether it holds numbers.
        rows: the cells.
        notes: sentences below it.
    """

    title: str
    header: Sequence[str]
    numbers: Sequence[bool]
    rows: Sequence[Sequence[Field]]
    notes: Sequence[str] = ()


def sheet_of(grid: Grid) -> Sheet:
    """Return a printed table for the page; a line that begins with nothing begins like the line above."""
    width = len(grid.cells.columns)
    numbers = [grid.texts <= place < width - grid.last_texts for place in range(width)]
    first = grid.cells.iloc[:, 0].replace("", None).ffill()
    lines = grid.cells.assign(**{str(grid.cells.columns[0]): first}).to_numpy().tolist()
    rows = [
        [_field(text, is_number) for text, is_number in zip(line, numbers, strict=True)] for line in lines
    ]
    return Sheet(grid.title, list(grid.cells.columns), numbers, rows, [inline(note) for note in grid.notes])


def inline(text: str) -> Markup:
    """Return a line of Markdown as HTML."""
    return Markup(_MARKDOWN.renderInline(text))  # HTML in the text is escaped


def _field(text: str, is_number: bool) -> Field:
    found = _NUMBER.search(text) if is_number else None
    order = float(found[0].replace(",", "").replace("−", "-")) if found else None
    return Field(inline(text), order)
