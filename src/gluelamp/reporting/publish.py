"""Adds printed scores that a user supplies to the published numbers, after checking every row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.io import write_text
from gluelamp.reporting.published import COLUMNS, PublishedScore, read_rows
from gluelamp.reporting.rendering import as_csv

PAPERS = ("pafi_hiwi", "xpeft")


def add_published(
    file: Path, paper: str, folder: Path, methods: Collection[str], backbones: Collection[str]
) -> int:
    """Merge a file of printed scores into those of one paper. Nothing is written unless every row is valid.

    Args:
        file: a CSV file with the columns `gluelamp.reporting.published.COLUMNS`.
        paper: one of `PAPERS`: the file in the folder that receives the rows.
        folder: of the published numbers.
        methods: the allowed names of methods.
        backbones: the allowed names of backbones.

    Returns:
        the number of new rows.

    Raises:
        InputError: if the file is missing, a row is not allowed or occurs twice, or a value contradicts a
            published one.
    """
    if paper not in PAPERS:
        raise unknown("paper", paper, PAPERS)
    columns = ", ".join(COLUMNS)
    if not file.is_file():
        raise InputError(f"{file} is no file; give a CSV file with the columns {columns}.")
    new = read_rows(file, PublishedScore)
    if not new:
        raise InputError(f"{file} has no row; give one number per row, in the columns {columns}.")
    _check(file, new, {"method": methods, "backbone": backbones})
    # Everything is checked before the first byte is written.
    target = folder / f"{paper}.csv"
    present = read_rows(target, PublishedScore) if target.is_file() else []
    added = _added(file, new, present)
    write_text(target, as_csv(pd.DataFrame(map(astuple, [*present, *added]), columns=COLUMNS)))
    return len(added)


def _check(file: Path, rows: Sequence[PublishedScore], allowed: Mapping[str, Collection[str]]) -> None:
    for number, row in enumerate(rows, start=1):
        for column, names in allowed.items():
            if getattr(row, column) not in names:
                raise InputError(f"{file}, row {number}: {unknown(column, getattr(row, column), names)}")
        # A printed score below 1 % exists, but it is far rarer than a percentage entered as a fraction.
        if 0 < abs(float(row.value)) < 1:
            raise InputError(
                f"{file}, row {number}: value {row.value} looks like a fraction; write it as printed, "
                "in percent."
            )


def _added(
    file: Path, rows: Sequence[PublishedScore], present: Sequence[PublishedScore]
) -> list[PublishedScore]:
    """Return the rows that are not published yet. Rows that contradict one another are an error."""
    values = {_cell(row): row.value for row in present}
    numbers: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, start=1):
        cell = _cell(row)
        if cell in numbers:
            raise InputError(f"{file}, row {number}: the same cell as row {numbers[cell]}; remove one.")
        numbers[cell] = number
        # Compared as numbers: "50" and "50.0" do not contradict each other.
        if float(values.get(cell, row.value)) != float(row.value):
            raise InputError(
                f"{file}, row {number}: value {row.value} contradicts the published value {values[cell]} of "
                f"the same cell of {row.paper}, {row.table}; correct one of them."
            )
    return [row for row in rows if _cell(row) not in values]


def _cell(row: PublishedScore) -> tuple[str, ...]:
    """Return what identifies the printed number: every column except the value and its source."""
    return (row.paper, row.table, row.method, row.backbone, row.protocol, row.task, row.metric)
