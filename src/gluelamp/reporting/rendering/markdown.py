"""Pages and tables as Markdown."""

from __future__ import annotations

from textwrap import fill

from gluelamp.reporting.rendering.cells import Cell
from gluelamp.reporting.rendering.prose import escape
from gluelamp.reporting.rendering.tables import Page, Table

_WIDTH = 115  # characters a line of a paragraph
_MARKS = {"": "", "bold": "**", "emphasis": "*", "code": "`"}


def page_as_markdown(page: Page) -> str:
    """Return a page as Markdown."""
    parts = [f"# {page.title}\n"]
    parts += [f"{fill(paragraph, _WIDTH, break_on_hyphens=False)}\n" for paragraph in page.reading]
    return "\n".join([*parts, *map(table_as_markdown, page.tables)])


def table_as_markdown(table: Table, level: int = 2) -> str:
    """Return a table as Markdown.

    Args:
        table: the table.
        level: of its heading.
    """
    rule = ["--:" if column.is_number else ":--" for column in table.columns]
    lines = [[column.title for column in table.columns], rule, *(map(_cell, row) for row in table.rows)]
    parts = [f"{'#' * level} {table.title}\n"] if table.title else []
    parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    parts += ["\n".join(f"- {note}" for note in table.notes) + "\n"] if table.notes else []
    return "\n".join(parts)


def _cell(cell: Cell) -> str:
    parts = []
    for text, style in cell.spans():
        mark = _MARKS[style]
        # A closing mark after a blank is not markup, so the blank follows the mark.
        stripped = text.rstrip()
        escaped = stripped if style == "code" else escape(stripped)
        parts.append(f"{mark}{escaped}{mark}{text[len(stripped) :]}")
    # A bar or a line break would end the cell.
    return " ".join("".join(parts).replace("|", "\\|").split())
