"""Tables read from JSON lines, Parquet, CSV or TSV files; errors name the file and the line."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TextIO

import pandas as pd

from gluelamp import io
from gluelamp.errors import InputError
from gluelamp.tasks.tables import Table, numbered, require_columns
from gluelamp.tasks.values import bad_character


def read_jsonl(path: Path) -> Table:
    """Read a file with one JSON object a line; blank lines are skipped.

    Raises:
        InputError: if a line is not a JSON object or contains an unpaired surrogate.
    """
    # The keys are line numbers, for error messages.
    with _text(path) as file:
        records = {number: line for number, line in enumerate(file, start=1) if line.strip()}
    rows = [_record(line, f"{path}, line {number}") for number, line in records.items()]
    # As objects: a column with whole numbers and one null would become floats, which are not exact.
    return Table(pd.DataFrame(rows, index=list(records), dtype="object"), str(path), "line")


def read_parquet(path: Path) -> Table:
    """Read a Parquet file.

    Raises:
        InputError: if the file is missing, truncated or no Parquet file.
    """
    return Table(numbered(io.read_parquet(path)), str(path))


def read_tsv(
    path: Path,
    columns: Mapping[str, str],
    header: Sequence[str] | None = None,
    skip_short_rows: bool = False,
    optional: Collection[str] = (),
) -> Table:
    """Read columns of a tab-separated file in which quotes are ordinary characters.

    Args:
        path: the file.
        columns: for each column of the result, its name in the file.
        header: the columns of a file that has no line of column names.
        skip_short_rows: whether rows with too few fields are left out; otherwise they are an error.
        optional: those of the columns that the file may lack.

    Returns:
        The columns and ``idx``, the row's number in the file from 0; skipped rows count too.

    Raises:
        InputError: if a column is missing or a row has a wrong number of fields.
    """
    first_line = 1 if header else 2
    with _delimited(path) as file:
        # Sentences contain unbalanced quotes, which a reader with quoting would join across lines.
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = list(header or next(lines, []))
        columns = {key: name for key, name in columns.items() if key not in optional or name in header}
        require_columns(str(path), header, columns.values())
        table = _complete_rows(path, lines, header, columns, skip_short_rows)
    # The index holds line numbers, so a skipped row counts: `idx` is the same as on the hub.
    return replace(table, rows=table.rows.assign(idx=table.rows.index - first_line))


def read_csv(path: Path, delimiter: str = ",") -> Table:
    """Read all columns of a file with a line of column names.

    Args:
        path: the file.
        delimiter: with commas, quotes are those of RFC 4180; with tabs, they are ordinary characters.

    Raises:
        InputError: if quotes are not balanced or a row has a wrong number of fields.
    """
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with _delimited(path) as file:
        lines = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            header = next(lines, [])
            return _complete_rows(path, lines, header, {name: name for name in header})
        except csv.Error as error:
            raise InputError(f"{path}, line {lines.line_num} is not valid CSV: {error}.") from error


def _complete_rows(
    path: Path, lines: Any, header: Sequence[str], columns: Mapping[str, str], skip_short_rows: bool = False
) -> Table:
    """Return columns of a delimited file; the index holds the number of the last line of each row."""
    for name in columns.values():
        if header.count(name) > 1:
            raise InputError(f"{path} has two columns {name!r}. Rename one of them.")
    fields = [header.index(name) for name in columns.values()]
    rows: dict[int, list[str]] = {}
    for row in lines:
        if len(row) == len(header):
            rows[lines.line_num] = [row[field] for field in fields]
        elif row and not (skip_short_rows and len(row) < len(header)):
            raise InputError(
                f"{path}, line {lines.line_num} has {len(row)} fields where the file has "
                f"{len(header)} columns ({', '.join(header)})."
            )
    return Table(pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)), str(path), "line")


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not valid JSON: {error.msg} (column {error.colno}).") from error
    except _RepeatedKeyError as error:
        raise InputError(f"{where} has two values of {error.args[0]!r}. Remove one of them.") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 1,000 nested lists
        raise InputError(f"{where} cannot be read: {error}.") from error
    if not isinstance(record, dict):
        raise InputError(f"{where} is not a JSON object with named columns.")
    # Only an escape can give a surrogate. Nested values are not checked later, so they are checked here.
    if "\\u" in line and (bad := bad_character(json.dumps(record, ensure_ascii=False))):
        raise InputError(f"{where} contains {bad}. Replace or remove it.")
    return record


class _RepeatedKeyError(Exception):
    """A JSON object has a key twice; `json` would return the last value without a message."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return record


@contextmanager
def _delimited(path: Path) -> Iterator[TextIO]:
    # The field limit of the module csv is global. A field is never longer than its file.
    with _text(path) as file:
        limit = csv.field_size_limit(path.stat().st_size + 1)
        try:
            yield file
        finally:
            csv.field_size_limit(limit)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    try:
        # Some official files start with a byte order mark. Line ends inside quotes belong to the text.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"The file {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}.") from error
