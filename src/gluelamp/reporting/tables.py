"""Writes the tables of a results folder, from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.records import FoundRun, write_text
from gluelamp.reporting.accuracy_page import accuracy_page
from gluelamp.reporting.aggregation import ACCURACY_COLUMNS, summarise
from gluelamp.reporting.lamp import has_persons
from gluelamp.reporting.pages import as_csv, page_files
from gluelamp.reporting.published import read_published
from gluelamp.reporting.results import Results


def write_tables(root: Path, published: Path | None = None) -> list[Path]:
    """Write all tables, as CSV and Markdown, and those for papers as LaTeX, too.

    ``claims``; the papers' ``glue_main``, ``sparse_masks`` and ``xpeft``; a table for each kind of
    measurement; ``certificates``; and all scores: of runs on tasks whose rows belong to persons in ``lamp``,
    of the others in ``glue_accuracy``. The same records give the same bytes. A table without records is
    left out.

    Args:
        root: the results folder, with ``runs/``, ``measurements/`` and ``certificates/``.
        published: the folder of the papers' numbers; ``published/`` in the results folder if None.

    Returns:
        the files written, below ``tables/``.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    results = Results(root, published or root / "published")
    folder = root / "tables"
    files = {
        **_accuracy(folder, results.published, [run for run in results.runs if not has_persons(run[1])]),
        **{path: text for page in results.pages() for path, text in page_files(folder, page).items()},
    }
    if not files:
        raise InputError(
            f"No records stand below {root}. Run `make reproduce-glue`, or a single run with "
            "`python scripts/train.py`, or a measurement with `python scripts/measure.py`."
        )
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def _accuracy(folder: Path, published: Path, runs: Sequence[FoundRun]) -> dict[Path, str]:
    if not runs:
        return {}
    complete = [run for run in runs if run[1].status == "complete"]
    failed = [record for _, record in runs if record.status == "failed"]
    if complete:
        rows = summarise(complete, read_published(published))
    else:
        rows = pd.DataFrame(columns=ACCURACY_COLUMNS)
    return {
        folder / "glue_accuracy.csv": as_csv(rows[ACCURACY_COLUMNS]),
        folder / "glue_accuracy.md": accuracy_page(rows, failed),
    }
