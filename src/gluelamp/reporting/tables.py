"""Writes the tables of a results folder, from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.records import MEASUREMENT_COLUMNS, RunRecord, find_measurements, find_runs, write_text
from gluelamp.reporting.aggregation import summarise
from gluelamp.reporting.counts import read_counts
from gluelamp.reporting.lamp import LAMP_COLUMNS, FoundRun, has_persons, lamp_rows
from gluelamp.reporting.lamp_page import lamp_page
from gluelamp.reporting.markdown import accuracy_page
from gluelamp.reporting.measurements import (
    as_text,
    measurement_page,
    measurement_rows,
    table_columns,
)
from gluelamp.reporting.published import read_published

ACCURACY_COLUMNS = [
    "data",
    "backbone",
    "method",
    "task",
    "metric",
    "mean",
    "std",
    "seeds",
    "epochs",
    "selection",
    "published",
]


def write_tables(root: Path, published: Path | None = None) -> list[Path]:
    """Write ``glue_accuracy``, ``lamp`` and a table for each kind of measurement, as CSV and Markdown.

    The same records give the same bytes. A table without records is left out. Runs on tasks whose rows
    belong to persons stand in ``lamp``, all others in ``glue_accuracy``.

    Args:
        root: the results folder, with ``runs/`` and ``measurements/``.
        published: the folder of the papers' numbers; ``published/`` in the results folder if None.

    Returns:
        the files written, below ``tables/``.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    published = published or root / "published"
    runs = find_runs(root)
    pages = {
        **_accuracy(root, published, [record for _, record in runs if not has_persons(record)]),
        **_lamp(root, [run for run in runs if has_persons(run[1])]),
        **_measurements(root, published),
    }
    if not pages:
        raise InputError(
            f"No records stand below {root}. Run `make reproduce-glue`, or a single run with "
            "`python scripts/train.py`, or a measurement with `python scripts/measure.py`."
        )
    for path, text in pages.items():
        write_text(path, text)
    return list(pages)


def _accuracy(root: Path, published: Path, records: Sequence[RunRecord]) -> dict[Path, str]:
    if not records:
        return {}
    complete = [record for record in records if record.status == "complete"]
    failed = [record for record in records if record.status == "failed"]
    if complete:
        rows = summarise(complete, read_published(published))
    else:
        rows = pd.DataFrame(columns=ACCURACY_COLUMNS)
    return _files(root, "glue_accuracy", rows[ACCURACY_COLUMNS], accuracy_page(rows, failed))


def _lamp(root: Path, runs: Sequence[FoundRun]) -> dict[Path, str]:
    if not runs:
        return {}
    rows = lamp_rows([run for run in runs if run[1].status == "complete"])
    failed = [record for _, record in runs if record.status == "failed"]
    return _files(root, "lamp", rows[LAMP_COLUMNS], lamp_page(rows, failed))


def _measurements(root: Path, published: Path) -> dict[Path, str]:
    pages: dict[Path, str] = {}
    counts = read_counts(published / "counts" / "parameters.csv")
    for kind in MEASUREMENT_COLUMNS:
        if measurements := find_measurements(root, kind):
            rows = measurement_rows(measurements, counts)
            cells = as_text(rows, table_columns(kind))
            pages |= _files(root, kind, cells, measurement_page(kind, rows))
    return pages


def _files(root: Path, name: str, table: pd.DataFrame, page: str) -> dict[Path, str]:
    folder = root / "tables"
    csv = table.to_csv(index=False, lineterminator="\n", float_format="%.6f")
    return {folder / f"{name}.csv": csv, folder / f"{name}.md": page}
