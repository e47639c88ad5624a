"""Pages and tables for papers, as LaTeX with booktabs and longtable."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from gluelamp.reporting.rendering.markdown import parse
from gluelamp.reporting.rendering.tables import Page, Span, Table, plain

_LONG = 40  # rows; more do not fit a page
_SENTENCE = 50  # characters; longer cells are wrapped
# The marks of scores and published numbers: most fonts of LaTeX lack these characters.
_SUPERSCRIPTS = dict(zip("ᵇᶜᶠʰᵐᵖˢᵗᵘ", "bcfhmpstu", strict=True))
_CHARACTERS = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {mark: f"\\textsuperscript{{{letter}}}" for mark, letter in _SUPERSCRIPTS.items()}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after the end of a row, a bare bracket is read as the length of a skip
        "]": "{]}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "²": "\\textsuperscript{2}",
        "−": "$-$",
    }
)
_COMMANDS = {"bold": "textbf", "emphasis": "emph", "code": "texttt"}


def page_as_latex(page: Page) -> str:
    """Return a page as LaTeX, to be included in a paper: a comment, and a float for each table."""
    parts = [f"% {page.title}. Needs \\usepackage{{booktabs,longtable}}.\n"]
    for number, table in enumerate(page.tables, start=1):
        label = page.name if len(page.tables) == 1 else f"{page.name}-{number}"
        title = ": ".join(filter(None, (page.title, table.title)))
        caption = ". ".join([latex([Span(title)]), *(latex(parse(note)) for note in table.notes)])
        parts.append(_table(table, caption, label))
    return "\n".join(parts)


def latex(spans: Iterable[Span]) -> str:
    """Return spans as one line of LaTeX: special characters escaped, styles as commands."""
    parts = []
    for text, style in spans:
        escaped = text.translate(_CHARACTERS)
        parts.append(f"\\{_COMMANDS[style]}{{{escaped}}}" if style else escaped)
    return " ".join("".join(parts).split())


def _table(table: Table, caption: str, label: str) -> str:
    is_long = len(table.rows) > _LONG
    lines = [[latex(cell.spans()) for cell in row] for row in table.rows]
    titles = [latex([Span(column.title)]) for column in table.columns]
    # The Styler repeats the heading of a longtable on every page. Its cells are LaTeX already.
    text = (
        pd.DataFrame(lines, columns=titles)
        .style.hide(axis="index")
        .to_latex(
            column_format=_alignment(table),
            caption=caption,
            label=f"tab:{label}",
            hrules=True,
            environment="longtable" if is_long else "table*",
            position=None if is_long else "t",
            position_float=None if is_long else "centering",
        )
    )
    # A float starts in the normal size again.
    text = text.replace("\\centering", "\\centering\\footnotesize", 1)
    # After an unescaped percent sign the rest of the line is a comment.
    comment = f"% signature, shared by all scores: {table.signature}\n" if table.signature else ""
    return f"{comment}{{\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n{text}}}\n"


def _alignment(table: Table) -> str:
    """Return one letter a column, and a fixed width for each column that holds sentences."""
    longest = [
        max((len(plain(cell)) for cell in cells), default=0) for cells in zip(*table.rows, strict=True)
    ]
    longest = longest or [0] * len(table.columns)
    wrapped = [length > _SENTENCE for length in longest]
    # LaTeX breaks lines only in columns of a fixed width. They get at most three quarters of the page.
    width = min(0.35, 0.75 / max(sum(wrapped), 1))
    letters = ["r" if column.is_number else "l" for column in table.columns]
    return "".join(
        f"p{{{width:.2f}\\textwidth}}" if is_wrapped else letter
        for is_wrapped, letter in zip(wrapped, letters, strict=True)
    )
