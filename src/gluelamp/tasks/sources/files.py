"""Read one file of rows: JSON lines, Parquet or TSV. Error messages name the broken line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gluelamp.errors import InputError
from gluelamp.tasks.sources.table import Table, numbered, require_columns


def read_jsonl(path: Path) -> Table:
    """Read a file with one JSON object a line; blank lines are skipped.

    Raises:
        InputError: if a line is not a JSON object or contains an unpaired surrogate.
    """
    # The keys are line numbers, for error messages.
    with _text(path) as file:
        records = {number: line for number, line in enumerate(file, start=1) if line.strip()}
    rows = [_record(line, f"{path}, line {number}") for number, line in records.items()]
    return Table(pd.DataFrame(rows, index=list(records)), str(path), "line")


def read_parquet(path: Path) -> Table:
    """Read a Parquet file.

    Raises:
        InputError: if the file is missing, truncated or no Parquet file.
    """
    try:
        with pq.ParquetFile(path) as file:
            rows = file.read().to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as a whole Parquet file: {error}") from error
    return Table(numbered(rows), str(path))


def read_tsv(
    path: Path,
    columns: Mapping[str, str],
    header: Sequence[str] | None = None,
    skip_short_rows: bool = False,
) -> Table:
    """Read columns of a tab-separated file in which quotes are ordinary characters.

    Args:
        path: the file.
        columns: for each column of the result, its name in the file.
        header: the columns of a file that has no line of column names.
        skip_short_rows: whether rows with too few fields are left out; otherwise they are an error.

    Returns:
        The columns and ``idx``, the row's number in the file from 0; skipped rows count too.

    Raises:
        InputError: if a column is missing or a row has a wrong number of fields.
    """
    first_line = 1 if header else 2
    rows: dict[int, list[str]] = {}
    with _text(path) as file:
        # Sentences contain unbalanced quotes, which a reader with quoting would join across lines.
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = list(header or next(lines, []))
        require_columns(str(path), header, columns.values())
        fields = [header.index(name) for name in columns.values()]
        for row in lines:
            if len(row) == len(header):
                rows[lines.line_num] = [row[field] for field in fields]
            elif row and not (skip_short_rows and len(row) < len(header)):
                raise InputError(
                    f"{path}, line {lines.line_num} has {len(row)} fields where the file has "
                    f"{len(header)} columns ({', '.join(header)})."
                )
    # The index holds line numbers, so a skipped row counts: `idx` is the same as on the hub.
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))
    return Table(frame.assign(idx=frame.index - first_line), str(path), "line")


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is not valid JSON: {error.msg} (column {error.colno}).") from error
    if not isinstance(record, dict):
        raise InputError(f"{where} is not a JSON object with named columns.")
    try:
        "".join(map(str, record.values())).encode()
    except UnicodeEncodeError as error:
        # JSON can escape half of a UTF-16 pair. No tokenizer and no Parquet file accepts such a string.
        code = f"U+{ord(error.object[error.start]):04X}"
        raise InputError(f"{where} contains an unpaired surrogate ({code}). Replace or remove it.") from error
    return record


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    try:
        # Some official files start with a byte order mark.
        with path.open(encoding="utf-8-sig") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"The file {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}.") from error
