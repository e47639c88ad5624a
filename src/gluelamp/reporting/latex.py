"""Tables for papers: LaTeX with booktabs, from cells written for Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

_LONG = 40  # rows; more do not fit a page
_SENTENCE = 50  # characters; longer cells are wrapped
_SUPERSCRIPTS = dict(zip("ᵇᶠʰᵐᵖˢᵗᵘ", "bfhmpstu", strict=True))
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
        "[": "{[}",  # after a line's end, a bare bracket is read as the length of a skip
        "]": "{]}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "²": "\\textsuperscript{2}",
        "−": "$-$",
    }
)
_ESCAPED = re.compile(r"\\([\\*`_])")
_PLACE = "\0"  # no text has it
_MARKUP = (
    (re.compile(r"\*\*(.+?)\*\*"), r"\\textbf{\1}"),
    (re.compile(r"\*(.+?)\*"), r"\\emph{\1}"),
    (re.compile(r"`(.+?)`"), r"\\texttt{\1}"),
)


def latex_text(text: str) -> str:
    """Return a line of Markdown as LaTeX: special characters escaped, bold, emphasis and code kept."""
    literals = iter(_ESCAPED.findall(text))
    escaped = " ".join(_ESCAPED.sub(_PLACE, text).translate(_CHARACTERS).split())
    for pattern, command in _MARKUP:
        escaped = pattern.sub(command, escaped)
    return re.sub(_PLACE, lambda _: next(literals).translate(_CHARACTERS), escaped)


def latex_table(cells: pd.DataFrame, align: str, caption: str, label: str) -> str:
    """Return a booktabs table; a long one may break over pages.

    Args:
        cells: as they are printed, in Markdown.
        align: one letter a column: ``l`` for texts, ``r`` for numbers.
        caption: in Markdown.
        label: after ``tab:``.
    """
    is_long = len(cells) > _LONG
    style = cells.style.hide(axis="index").format(latex_text).format_index(latex_text, axis="columns")
    table = style.to_latex(
        column_format=_wrapped(cells, align),
        caption=latex_text(caption),
        label=f"tab:{label}",
        hrules=True,
        environment="longtable" if is_long else "table*",
        position=None if is_long else "t",
        position_float=None if is_long else "centering",
    )
    # a float starts in the normal size again
    table = table.replace("\\centering", "\\centering\\footnotesize", 1)
    return f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n{table}}}\n"


def _wrapped(cells: pd.DataFrame, align: Sequence[str]) -> str:
    """Return the alignment with a fixed width for each column that holds sentences."""
    is_text = [max((len(cell) for cell in cells[column]), default=0) > _SENTENCE for column in cells]
    width = min(0.35, 0.75 / max(sum(is_text), 1))
    pairs = zip(is_text, align, strict=True)
    return "".join(f"p{{{width:.2f}\\textwidth}}" if wrapped else letter for wrapped, letter in pairs)
