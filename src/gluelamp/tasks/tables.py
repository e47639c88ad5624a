"""Tables of rows, read from JSON lines, Parquet, CSV or TSV files and checked; errors name the wrong row."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from gluelamp.errors import InputError, unknown
from gluelamp.tasks.task import Source, Task

SAMPLE_PLACE = "bundled and synthetic, not the benchmark's rows"


@dataclass(frozen=True)
class Table:
    """The rows of one split before any check.

    Args:
        rows: what was read; the index is the position of each row in the file, counted from 1.
        origin: the file or the hub's split, as error messages name it.
        unit: what the index counts, ``"line"`` in text files and ``"row"`` elsewhere.
    """

    rows: pd.DataFrame
    origin: str
    unit: str = "row"

    def refuse(self, bad: ArrayLike, problem: Callable[[int], str]) -> None:
        """Raise an InputError that names the first bad row, if there is one.

        Args:
            bad: one truth value per row.
            problem: describes what is wrong with the row at a position.
        """
        positions = np.flatnonzero(bad)
        if positions.size:
            position = int(positions[0])
            where = f"{self.origin}, {self.unit} {self.rows.index[position]}"
            raise InputError(f"{where}: {problem(position)}")


@dataclass(frozen=True)
class Reading:
    """The rows of one task in one source.

    Args:
        tables: the splits that are present.
        source: the label that is stored in every record.
        place: folder, or repository and commit, for the log and error messages.
        revision: the hub's commit, where it is known.
        deviations: known differences from the official data that the source itself has, one sentence each.
    """

    tables: Mapping[str, Table]
    source: Source
    place: str
    revision: str | None = None
    deviations: tuple[str, ...] = ()


def numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with an index that counts them from 1."""
    return rows.set_axis(pd.RangeIndex(1, len(rows) + 1))


def require_columns(origin: str, present: Iterable[str], wanted: Iterable[str]) -> None:
    """Raise an InputError that names each missing column and the nearest present one."""
    present = [str(column) for column in present]
    missing = [_missing(column, present) for column in wanted if column not in present]
    if missing:
        raise InputError(
            f"{origin} has no column {' and no column '.join(missing)}. "
            f"Its columns are: {', '.join(present) or 'none'}."
        )


def normalise(table: Table, task: Task, split: str) -> pd.DataFrame:
    """Return the checked rows: ``idx``, user and group if the task has them, its texts and ``label``.

    Labels may be class ids or class names. In a test split the column may be absent: its labels are
    hidden, -1. An empty text is allowed, because two official QQP questions are empty.

    Args:
        table: the rows as they were read.
        task: the declaration; it defines the columns and the allowed labels.
        split: the name of the split; -1 is allowed in test splits only.

    Raises:
        InputError: if there are no rows, a column is missing or a value is not allowed.
    """
    if table.rows.empty:
        raise InputError(f"{table.origin} has no rows.")
    hidden = split in task.test_splits
    # The official test files have no label column, the hub's have -1.
    if hidden and "label" not in table.rows:
        table = replace(table, rows=table.rows.assign(label=-1))
    text_columns = (*filter(None, [task.user_column, task.group_column]), *task.text_columns)
    require_columns(table.origin, table.rows.columns, ("idx", *text_columns, "label"))
    texts = {column: checked_texts(table, column) for column in text_columns}
    return pd.DataFrame({"idx": checked_idx(table), **texts, "label": _labels(table, task, hidden)})


def _missing(column: str, present: list[str]) -> str:
    close = get_close_matches(column, present, n=1, cutoff=0.5)
    return f"{column!r}" + (f" (nearest: {close[0]!r})" if close else "")


def checked_idx(table: Table) -> pd.Series:
    """Return the column ``idx`` (int64): whole numbers, of which none occurs twice."""
    raw = table.rows["idx"].tolist()
    values = numbers(raw)
    table.refuse(values % 1 != 0, lambda row: f"idx {raw[row]!r} is not a whole number.")
    table.refuse(values.duplicated(), lambda row: f"idx {raw[row]!r} occurs twice.")
    return values.astype("int64")


def checked_texts(table: Table, column: str) -> pd.Series:
    """Return a column (str) in which every value is a text."""
    raw = table.rows[column].tolist()
    not_text = [not isinstance(text, str) for text in raw]
    table.refuse(not_text, lambda row: f"{column!r} is {raw[row]!r}, which is not text.")
    return pd.Series(raw, dtype="str")


def _labels(table: Table, task: Task, hidden: bool) -> pd.Series:
    raw = table.rows["label"].tolist()
    # The official TSV files have class names, the hub has class ids.
    ids = {name: number for number, name in enumerate(task.labels)}
    # Unknown names and other types become NaN, so that one check finds all of them.
    values = numbers([ids.get(value, value) if isinstance(value, str) else value for value in raw])
    table.refuse(values.isna(), lambda row: _not_a_label(raw[row], task))

    low, high = task.label_range or (0, len(task.labels) - 1)
    allowed = values.between(low, high) | ((values == -1) & hidden)
    allowed &= task.is_regression | (values % 1 == 0)
    kind = f"a {'score' if task.is_regression else 'class id'} from {low} to {high}"
    note = "-1 (hidden) is allowed in test splits only."
    table.refuse(~allowed, lambda row: f"label {raw[row]!r} is not {kind}; {note}")
    # The hub stores scores as float32. Rounding to five decimals restores 3.8 from 3.7999999523, and no
    # official score has more decimals.
    return values.round(5) if task.is_regression else values.astype("int64")


def numbers(values: Iterable) -> pd.Series:
    """Return values as float64; what is no number is NaN."""
    return pd.to_numeric(pd.Series(list(values), dtype="object"), errors="coerce").astype("float64")


def _not_a_label(label: object, task: Task) -> str:
    if isinstance(label, str) and task.labels:
        return str(unknown("label", label, task.labels))
    return f"label {label!r} is not a {'number' if task.is_regression else 'class id or name'}."


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
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = file.read()
        columns.validate(full=True)  # texts are UTF-8, and offsets are inside of them
        # Without the metadata of pandas, which to_pandas parses even if it is told to ignore them.
        rows = columns.replace_schema_metadata().to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} cannot be read as a whole Parquet file: {reason}.") from error
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
    with _text(path) as file:
        # Sentences contain unbalanced quotes, which a reader with quoting would join across lines.
        lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = list(header or next(lines, []))
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
    with _text(path) as file:
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
        # Some official files start with a byte order mark. Line ends inside quotes belong to the text.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"The file {path} does not exist.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}.") from error
