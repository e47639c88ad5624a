"""A table in three forms from one description: CSV for machines, Markdown for readers, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.latex import latex_table
from gluelamp.reporting.markdown import literal, markdown_table


@dataclass(frozen=True)
class Grid:
    """One printed table of a page.

    Args:
        title: what sets it apart on its page; empty if it is alone.
        cells: as they are printed, in Markdown (`**bold**`, `*emphasis*`, `` `code` ``).
        texts: how many leading columns are text; the others are numbers, aligned right.
        last_texts: how many columns at the end are text, too.
        notes: sentences below it.
    """

    title: str
    cells: pd.DataFrame
    texts: int = 1
    last_texts: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Page:
    """What one table says.

    Args:
        name: of its files.
        title: its heading.
        reading: how to read it, one paragraph each, in Markdown.
        data: all of it, as numbers.
        grids: what is printed of it.
    """

    name: str
    title: str
    reading: Sequence[str]
    data: pd.DataFrame
    grids: Sequence[Grid]


def failures(failed: Sequence[RunRecord]) -> Grid:
    """Return the table of the runs that failed, with their messages."""
    lines = [
        [
            *(record.config[part]["name"] for part in ("backbone", "method", "task")),
            str(record.config["seed"]),
            literal(record.error or "no message"),
        ]
        for record in failed
    ]
    cells = pd.DataFrame(sorted(lines), columns=["backbone", "method", "task", "seed", "error"])
    return Grid("Failed runs", cells, texts=len(cells.columns))


def page_files(folder: Path, page: Page) -> dict[Path, str]:
    """Return the content of a page's files: the CSV, the Markdown and the LaTeX."""
    return {
        folder / f"{page.name}.csv": as_csv(page.data),
        folder / f"{page.name}.md": as_markdown(page),
        folder / f"{page.name}.tex": as_latex(page),
    }


def as_csv(data: pd.DataFrame) -> str:
    """Return a frame as CSV, the same bytes for the same numbers on every system."""
    return data.to_csv(index=False, lineterminator="\n", float_format="%.6f")


def as_markdown(page: Page) -> str:
    """Return a page as Markdown."""
    parts = [f"# {page.title}\n"]
    parts += [f"{fill(paragraph, 115, break_on_hyphens=False)}\n" for paragraph in page.reading]
    return "\n".join([*parts, *map(grid_as_markdown, page.grids)])


def grid_as_markdown(grid: Grid) -> str:
    """Return a printed table as Markdown, its title as a heading of the second level."""
    parts = [f"## {grid.title}\n"] if grid.title else []
    parts.append(
        markdown_table(list(grid.cells), grid.cells.to_numpy().tolist(), grid.texts, grid.last_texts)
    )
    parts += ["\n".join(f"- {note}" for note in grid.notes) + "\n"] if grid.notes else []
    return "\n".join(parts)


def as_latex(page: Page) -> str:
    """Return a page as LaTeX, to be read in by a paper: a comment, and a float for each grid."""
    parts = [f"% {page.title}. Needs \\usepackage{{booktabs,longtable}}.\n"]
    for number, grid in enumerate(page.grids, start=1):
        label = page.name if len(page.grids) == 1 else f"{page.name}-{number}"
        title = ": ".join(filter(None, (page.title, grid.title)))
        numbers = len(grid.cells.columns) - grid.texts - grid.last_texts
        align = "l" * grid.texts + "r" * numbers + "l" * grid.last_texts
        parts.append(latex_table(grid.cells, align, ". ".join((title, *grid.notes)), label))
    return "\n".join(parts)
