"""Pages and tables of typed cells: what the renderers take, and how numbers are printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import pandas as pd

from gluelamp.tasks.task import ERRORS

_SIGNIFICANT_VERDICTS = ("better", "worse")  # printed in bold


class Span(NamedTuple):
    """A piece of text in one style.

    Args:
        text: plain text.
        style: ``"bold"``, ``"emphasis"``, ``"code"`` or, for neither, ``""``.
    """

    text: str
    style: str = ""


@dataclass(frozen=True)
class Format:
    """How a number is printed.

    Args:
        decimals: digits after the point.
        scale: factor before printing; 100 for a fraction in points.
        sign: whether a positive number has a sign.
        significant: significant digits instead of fixed decimals; 0 for fixed decimals.
        suffix: text after the number, such as a unit.
    """

    decimals: int = 0
    scale: float = 1
    sign: bool = False
    significant: int = 0
    suffix: str = ""

    def text(self, value: float) -> str:
        """Return a number with commas between thousands, never a negative zero; empty for NaN or None."""
        if pd.isna(value):
            return ""
        scaled, sign = self.scale * value, "+" if self.sign else ""
        # `z` prints a rounded -0.0 without its sign, which would claim a direction.
        if self.significant:
            # `#` preserves trailing zeros, which are significant, but also a trailing point.
            text = f"{scaled:{sign}z#.{self.significant}g}".rstrip(".") if scaled else "0"
        else:
            text = f"{scaled:{sign}z,.{self.decimals}f}"
        # The minus sign is as wide as a plus sign, and a line never breaks after it.
        return text.replace("-", "−") + self.suffix


COUNT = Format()
"""A whole number."""
POINTS = Format(decimals=1, scale=100)
"""A fraction, times 100."""
DIFFERENCE = Format(decimals=1, scale=100, sign=True)
"""A difference of two fractions, times 100."""
ERROR = Format(decimals=3)
"""A mean error, in the unit of the labels."""
PERCENTAGE = Format(significant=3)
"""A percentage, such as ``0.0347``."""


def score_format(metric: str) -> Format:
    """Return how a score is printed: times 100, unless it is an error in the unit of the labels."""
    return ERROR if metric in ERRORS else POINTS


@dataclass(frozen=True)
class Symbol:
    """A coloured symbol before a text, in HTML alone.

    Args:
        name: the meaning of the symbol; a filter of rows finds it.
        colour: of CSS.
        glyph: the character.
    """

    name: str
    colour: str
    glyph: str


@dataclass(frozen=True)
class Text:
    """Words, shown as they are.

    Args:
        text: plain text.
        marks: letters of footnotes after it.
        bold: whether it is printed in bold.
        opens: in HTML, the name of the dialog that it opens.
        symbol: in HTML, a symbol before it.
    """

    text: str
    marks: str = ""
    bold: bool = False
    opens: str = ""
    symbol: Symbol | None = None

    @property
    def order(self) -> float | None:
        """The value to sort by in a column of numbers: none."""
        return None

    def spans(self) -> list[Span]:
        """Return the text."""
        return [Span(self.text + self.marks, "bold" if self.bold else "")]


EMPTY = Text("")


@dataclass(frozen=True)
class Number:
    """A number with what is known of its uncertainty.

    Args:
        value: the number; NaN or None if it is missing.
        format: for the value, its interval and its standard deviation.
        low: lower bound of the 95 % interval.
        high: upper bound of the 95 % interval.
        std: standard deviation over seeds.
        seeds: number of seeds, where it is printed.
        verdict: outcome of a test; `better` and `worse` are printed in bold.
        comment: what restricts the verdict, printed in parentheses.
        marks: letters of footnotes after the value.
        bold: whether all of it is printed in bold.
        missing: printed instead of a missing value.
        opens: in HTML, the name of the dialog that it opens.
    """

    value: float
    format: Format = COUNT
    low: float = nan
    high: float = nan
    std: float = nan
    seeds: int | None = None
    verdict: str = ""
    comment: str = ""
    marks: str = ""
    bold: bool = False
    missing: str = ""
    opens: str = ""

    @property
    def order(self) -> float | None:
        """The value to sort by; None if it is missing."""
        # The exact value, so that the order does not depend on the printed decimals.
        return None if pd.isna(self.value) else float(self.value)

    def spans(self) -> list[Span]:
        """Return the number, its uncertainty and its verdict."""
        text = " ".join(self._parts())
        before, after = [Span(text + " " * bool(text and self.verdict), "bold" if self.bold else "")], []
        if self.verdict:
            after.append(Span(self.verdict, "bold" if self.verdict in _SIGNIFICANT_VERDICTS else ""))
        if self.comment:
            after.append(Span(f" ({self.comment})"))
        return [span for span in (*before, *after) if span.text]

    def _parts(self) -> Iterator[str]:
        if pd.isna(self.value):
            yield self.missing + self.marks
        else:
            yield self.format.text(self.value) + self.marks
            if not pd.isna(self.std):
                yield f"± {self.format.text(self.std)}"
            if not pd.isna(self.low):
                yield f"[{self.format.text(self.low)}, {self.format.text(self.high)}]"
        if self.seeds is not None and (self.missing or not pd.isna(self.value)):
            yield f"({self.seeds})"


@dataclass(frozen=True)
class Range:
    """Two bounds.

    Args:
        low: the lower one; NaN or None if it is missing.
        high: the upper one.
        format: of both.
        is_interval: whether it is an interval, in brackets; else the least and the most of several numbers.
    """

    low: float
    high: float
    format: Format = COUNT
    is_interval: bool = False

    opens = ""

    @property
    def order(self) -> float | None:
        """The value to sort by: the lower bound; None if it is missing."""
        return None if pd.isna(self.low) else float(self.low)

    def spans(self) -> list[Span]:
        """Return both bounds, or one of them where they are printed equally."""
        if pd.isna(self.low):
            return []
        # Two bounds that differ only in decimals that are not printed are one number for the reader.
        low, high = self.format.text(self.low), self.format.text(self.high)
        if self.is_interval:
            return [Span(f"[{low}, {high}]")]
        return [Span(" to ".join(dict.fromkeys([low, high])))]


Cell = Text | Number | Range


def plain(cell: Cell) -> str:
    """Return the text of a cell without its style."""
    return "".join(span.text for span in cell.spans())


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
        signature: what the signatures of its scores have in common; empty if it has no scores.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    signature: str = ""

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
