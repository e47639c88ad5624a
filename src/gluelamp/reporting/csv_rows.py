"""Rows of a CSV file as checked dataclasses."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from gluelamp.errors import InputError

_Row = TypeVar("_Row")


def read_rows(path: Path, layout: type[_Row]) -> list[_Row]:
    """Return the rows of a CSV file in their order.

    Args:
        path: a file with a header.
        layout: a pydantic dataclass with a field for each column.

    Raises:
        InputError: if a column is missing or superfluous, or a value is not allowed; the message names
            file, row and column.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, restkey="beyond the header"))
    try:
        return TypeAdapter(list[layout]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        row, *column = first["loc"]
        place = ", ".join([f"row {int(row) + 1}", *(f"column {name}" for name in column)])
        sentence = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(f"{path}, {place}: {sentence}.") from error
