"""What all pages for human readers are made of, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKUP = re.compile(r"[\\*`<]|(?<!\w)_|_(?!\w)")  # within a word, an underscore is only itself


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1, last_texts: int = 0
) -> str:
    """Return a Markdown table.

    Args:
        header: the column titles.
        rows: the cells; a bar or a line break in them is made harmless.
        texts: how many leading columns are text; the others are numbers, aligned right.
        last_texts: how many columns at the end are text, too.
    """
    numbers = range(texts, len(header) - last_texts)
    rule = ["--:" if position in numbers else ":--" for position in range(len(header))]
    lines = [header, rule, *([_in_a_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def literal(text: str) -> str:
    """Return a text, such as a label with a regular expression, as Markdown that shows it as it is."""
    return _MARKUP.sub(r"\\\g<0>", text)


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
