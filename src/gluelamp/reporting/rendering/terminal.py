"""Tables in a terminal, or as plain text of at most 120 columns."""

from __future__ import annotations

import sys
from dataclasses import replace
from math import nan

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text as RichText

from gluelamp.reporting.rendering.markdown import parse
from gluelamp.reporting.rendering.tables import Cell, Number, Table

PLAIN_WIDTH = 120
_UNLIMITED = 10_000
_STYLES = {"bold": "bold", "emphasis": "italic", "code": "", "": ""}


def print_table(table: Table) -> None:
    """Print a table to standard output. If it is too wide, its numbers are without their intervals."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=PLAIN_WIDTH)
    shown = _rendered(table)
    if console.measure(shown, options=console.options.update(width=_UNLIMITED)).maximum > console.width:
        shown = _rendered(replace(table, rows=[list(map(_without_interval, row)) for row in table.rows]))
    console.print()
    console.print(table.title, style="bold", markup=False, highlight=False)
    if table.rows:
        console.print(shown)
    for note in table.notes:
        text = "".join(span.text for span in parse(note))
        console.print(text, style="yellow", markup=False, highlight=False)
    if table.signature:
        # One line, however long: it is there to be copied.
        text = f"Signature, shared by all scores: {table.signature}"
        console.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def _rendered(table: Table) -> RichTable:
    rendered = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in table.columns:
        # A break within a number would be read as two numbers.
        rendered.add_column(
            RichText(column.title),
            justify="right" if column.is_number else "left",
            no_wrap=column.is_number,
        )
    for row in table.rows:
        rendered.add_row(*(_text(cell) for cell in row))
    return rendered


def _text(cell: Cell) -> RichText:
    return RichText.assemble(*((span.text, _STYLES[span.style]) for span in cell.spans()))


def _without_interval(cell: Cell) -> Cell:
    return replace(cell, low=nan, high=nan) if isinstance(cell, Number) else cell
