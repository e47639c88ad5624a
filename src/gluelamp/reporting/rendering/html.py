"""Tables and prose as HTML, for the page. Tables sort by the values of their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from gluelamp.reporting.rendering.markdown import parse
from gluelamp.reporting.rendering.tables import EMPTY, Cell, Column, Span, Symbol, Table, Text, plain

_SENTENCE = 50  # characters; a longer text may break over lines
_ELEMENTS = {"bold": "strong", "emphasis": "em", "code": "code"}


def inline(prose: str) -> Markup:
    """Return a paragraph of Markdown as HTML, without an element around it."""
    return _html(parse(prose))


def symbol_html(symbol: Symbol) -> Markup:
    """Return a symbol; its name is next to it for those who do not see it."""
    return Markup('<span class="symbol" style="color: {}" aria-hidden="true">{}</span>').format(
        symbol.colour, symbol.glyph
    )


def table_html(table: Table) -> Markup:
    """Return a table whose rows can be sorted and filtered, with its notes."""
    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>\n').format(
            _class("number") if column.is_number else "", column.title
        )
        for column in table.columns
    )
    body = Markup("").join(_row(table.columns, row) for row in _complete(table.rows))
    caption = Markup("<caption>{}</caption>\n").format(table.title) if table.title else ""
    notes = Markup("").join(Markup('<p class="note">{}</p>\n').format(inline(note)) for note in table.notes)
    return Markup(
        '<table class="sheet">\n{}<thead><tr>\n{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n{}'
    ).format(caption, head, body, notes)


def _complete(rows: Sequence[Sequence[Cell]]) -> Iterable[Sequence[Cell]]:
    """Repeat the first cell where it is empty: after sorting, the row above is another one."""
    first: Cell = EMPTY
    for row in rows:
        first = row[0] if plain(row[0]) else first
        yield [first, *row[1:]]


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> Markup:
    # The cell that names a row is its heading, which screen readers repeat for each cell.
    titles = [column.title for column in columns]
    head = titles.index("method") if "method" in titles else 0
    cells = Markup("").join(
        _heading(cell) if place == head else _data(column, cell)
        for place, (column, cell) in enumerate(zip(columns, row, strict=True))
    )
    return Markup("<tr>\n{}</tr>\n").format(cells)


def _heading(cell: Cell) -> Markup:
    # DataTables filters by `data-search` where it exists: the name of the family finds its methods.
    symbol = cell.symbol if isinstance(cell, Text) else None
    search = Markup(' data-search="{} {}"').format(plain(cell), symbol.name) if symbol else ""
    return Markup('<th scope="row"{}>{}</th>\n').format(search, _content(cell))


def _data(column: Column, cell: Cell) -> Markup:
    if column.is_number:
        # DataTables sorts by `data-order`, not by the text.
        order = "" if cell.order is None else f"{cell.order:.10g}"
        return Markup('<td class="number" data-order="{}">{}</td>\n').format(order, _content(cell))
    return Markup("<td{}>{}</td>\n").format(
        _class("text") if len(plain(cell)) > _SENTENCE else "", _content(cell)
    )


def _content(cell: Cell) -> Markup:
    content = _html(cell.spans())
    if cell.opens:
        content = Markup('<button class="cell" data-opens="{}">{}</button>').format(cell.opens, content)
    if isinstance(cell, Text) and cell.symbol:
        content = symbol_html(cell.symbol) + " " + content
    return content


def _html(spans: Iterable[Span]) -> Markup:
    parts = [
        Markup("<{0}>{1}</{0}>").format(Markup(_ELEMENTS[style]), text) if style else escape(text)
        for text, style in spans
    ]
    return Markup("").join(parts)


def _class(name: str) -> Markup:
    return Markup(' class="{}"').format(name)
