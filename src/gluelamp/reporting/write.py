"""Writes the tables of a results folder, from its records alone."""

from __future__ import annotations

from pathlib import Path

from gluelamp.errors import InputError
from gluelamp.io import write_text
from gluelamp.reporting.rendering import page_files
from gluelamp.reporting.results import Results


def write_tables(root: Path, published: Path | None = None) -> list[Path]:
    """Write all tables as CSV, Markdown and LaTeX.

    These are ``claims``, the papers' tables ``glue_main``, ``sparse_masks`` and ``xpeft``, one table per
    kind of measurement, ``certificates``, ``lamp`` (all scores of tasks with users) and ``glue_accuracy``
    (all scores of the other tasks). The same records give the same bytes. A table without records is not
    written.

    Args:
        root: the results folder, with ``runs/``, ``measurements/`` and ``certificates/``.
        published: the folder of the papers' numbers; ``published/`` in the results folder if None.

    Returns:
        the files written, below ``tables/``.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    results = Results(root, published or root / "published")
    accuracy = results.accuracy_page()
    pages = [*([accuracy] if accuracy else []), *results.pages()]
    if not pages:
        raise InputError(
            f"There are no records in {root}. Run `make reproduce-glue`, or a single run with "
            "`python scripts/train.py`, or a measurement with `python scripts/measure.py`."
        )
    files = {file: text for page in pages for file, text in page_files(root / "tables", page).items()}
    for file, text in files.items():
        write_text(file, text)
    return list(files)
