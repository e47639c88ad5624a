"""Rows of a CSV file as checked dataclasses."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from gluelamp.errors import InputError
from gluelamp.tasks.sources.table import require_columns

_Row = TypeVar("_Row")


def read_rows(path: Path, layout: type[_Row]) -> list[_Row]:
    """Return the rows of a CSV file in their order.

    Args:
        path: a file with a header.
        layout: a pydantic dataclass with a field for each column.

    Raises:
        InputError: if the file is not UTF-8, a column is missing or superfluous, or a value is not allowed;
            the message names file, row and column.
    """
    rows = _rows(path)
    if rows:
        require_columns(str(path), rows[0], [field.name for field in fields(layout)])  # type: ignore[arg-type]
    try:
        return TypeAdapter(list[layout]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        row, *column = first["loc"]
        place = ", ".join([f"row {int(row) + 1}", *(f"column {name}" for name in column)])
        sentence = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(f"{path}, {place}: {sentence}.") from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, restkey="beyond the header"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
