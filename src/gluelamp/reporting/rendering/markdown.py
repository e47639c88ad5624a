"""Pages and tables as Markdown, and prose in a small subset of Markdown.

Prose has ``**bold**``, ``*emphasis*``, `` `code` `` and backslash escapes.
"""

from __future__ import annotations

import re
from textwrap import fill

from gluelamp.reporting.rendering.tables import Cell, Page, Span, Table

_WIDTH = 115  # characters a line of a paragraph
_MARKS = {"": "", "bold": "**", "emphasis": "*", "code": "`"}
_MARKUP = re.compile(r"[\\*`<]|(?<!\w)_|_(?!\w)")  # an underscore within a word is no markup
# Order matters: an escape precedes the mark that it escapes, and two asterisks precede one.
_TOKEN = re.compile(
    r"\\(?P<literal>[\\*`_<])|\*\*(?P<bold>.+?)\*\*|\*(?P<emphasis>.+?)\*|`(?P<code>.+?)`", re.DOTALL
)


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
    signature = [f"Signature, shared by all scores: `{table.signature}`"] if table.signature else []
    notes = [f"- {note}\n" for note in (*table.notes, *signature)]
    parts += ["".join(notes)] if notes else []
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


def parse(prose: str) -> list[Span]:
    """Return the spans of a paragraph. Markup does not nest, except for escapes within bold and emphasis."""
    spans, end = [], 0
    for token in _TOKEN.finditer(prose):
        spans.append(Span(prose[end : token.start()]))
        style, text = token.lastgroup or "", token[token.lastgroup or 0]
        if style in ("bold", "emphasis"):
            text = re.sub(r"\\([\\*`_<])", r"\1", text)
        spans.append(Span(text, "" if style == "literal" else style))
        end = token.end()
    spans.append(Span(prose[end:]))
    return [span for span in spans if span.text]


def escape(text: str) -> str:
    """Return a text, such as a label that holds a regular expression, as Markdown that shows it unchanged."""
    return _MARKUP.sub(r"\\\g<0>", text)
