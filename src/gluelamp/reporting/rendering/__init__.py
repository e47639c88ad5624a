"""Tables as data, and three renderers: Markdown, LaTeX and HTML.

A `Table` holds typed cells. A `Page` is a heading, some paragraphs, tables, and the same results as a data
frame for the CSV file. **A cell is data, never markup**:

- `Number`: a value with its `Format` and, where they exist, a 95 % interval, a standard deviation, the number
  of seeds, a verdict and footnote marks.
- `Range`: two bounds, as an interval (``[42.2, 63.4]``) or as the least and the most (``1,540 to 3,080``).
- `Text`: words, shown exactly as they are, with footnote marks where they have some.
- `EMPTY`: no value. A `Number` whose value is missing (NaN or None) is empty, too.

Each cell splits itself into a list of `Span` (text with bold, emphasis or code). A renderer escapes and wraps
spans. It neither formats numbers nor parses them back from text. The HTML table sorts by the value of a cell.

Paragraphs and notes are prose in a small subset of Markdown (`gluelamp.reporting.rendering.markdown`). A name
that is inserted into prose goes through `escape`. Titles of pages, tables and columns are plain text.

    score = Number(0.528, POINTS, low=0.422, high=0.634)  # 52.8 [42.2, 63.4]
    table = Table("minilm", [*texts("method"), *numbers("CoLA", "RTE")], [[Text("pafi"), score, EMPTY]])
    page = Page("scores", "Scores", ["Scores times 100."], data, [table])
    page_files(folder, page)  # the content of scores.csv, scores.md and scores.tex
"""

from __future__ import annotations

from pathlib import Path

from gluelamp.reporting.rendering.latex import page_as_latex
from gluelamp.reporting.rendering.markdown import escape, page_as_markdown, table_as_markdown
from gluelamp.reporting.rendering.tables import (
    COUNT,
    DIFFERENCE,
    EMPTY,
    ERROR,
    PERCENTAGE,
    POINTS,
    Cell,
    Column,
    Format,
    Number,
    Page,
    Range,
    Span,
    Symbol,
    Table,
    Text,
    as_csv,
    numbers,
    score_format,
    texts,
)

__all__ = [
    "COUNT",
    "DIFFERENCE",
    "EMPTY",
    "ERROR",
    "PERCENTAGE",
    "POINTS",
    "Cell",
    "Column",
    "Format",
    "Number",
    "Page",
    "Range",
    "Span",
    "Symbol",
    "Table",
    "Text",
    "as_csv",
    "escape",
    "numbers",
    "page_files",
    "score_format",
    "table_as_markdown",
    "texts",
]


def page_files(folder: Path, page: Page) -> dict[Path, str]:
    """Return the content of a page's files: CSV, Markdown and LaTeX."""
    return {
        folder / f"{page.name}.csv": as_csv(page.data),
        folder / f"{page.name}.md": page_as_markdown(page),
        folder / f"{page.name}.tex": page_as_latex(page),
    }
