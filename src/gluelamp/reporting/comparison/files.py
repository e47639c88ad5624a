"""Files of predictions and of labels: tables with an id, in four formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.io import file_sha256, read_parquet, user_path
from gluelamp.reporting.scores import CHECKSUM_DIGITS
from gluelamp.tasks.values import identifier

Source: TypeAlias = str | Path | pd.DataFrame

ROLES = {
    "id": ("id", "idx", "index", "doc_id"),
    "prediction": ("prediction", "predictions", "pred"),
    "label": ("label", "labels", "gold", "target"),
    "group": (),
}
"""The columns that are read, and the names that are looked for where none is given."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        columns: names of columns by role (`ROLES`); several names, of which a file has one, are separated by
            commas.
        metric: its name; None for that of the files.
        has_gold: whether the labels are in a file of their own.
        selection: which predictions of a run; None for the strictest that it has.
        filter: which answers of lm-eval's samples.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    has_gold: bool = False
    selection: str | None = None
    filter: str | None = None


@dataclass(frozen=True)
class PredictionFile:
    """The predictions of one system, with one seed.

    Args:
        name: of the file, for messages.
        rows: ``id`` as text, ``prediction``, ``label`` and ``group``; the last two only where they exist.
        sha256: of the content, its first digits.
        metric: that is computed; None if neither the user nor the file names one.
        fields: of the signature, as far as the file states them.
        seed: of a run.
    """

    name: str
    rows: pd.DataFrame
    sha256: str
    metric: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    seed: int | None = None


def read_gold(source: Source, reading: Reading) -> PredictionFile:
    """Read the labels of all systems from a table with a label for each id.

    Raises:
        InputError: if the source cannot be read, or lacks a column.
    """
    if isinstance(source, pd.DataFrame):
        name, frame, sha256 = "a data frame of labels", source, frame_sha256(source)
    else:
        path = user_path(source)
        name, frame = str(source), read_table(path)
        sha256 = file_sha256(path)[:CHECKSUM_DIGITS]
    group = [role for role in ("group",) if role in reading.columns]
    return PredictionFile(name, _table_rows(name, frame, reading, ["id", "label", *group]), sha256)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV, JSON lines or Parquet file; values of CSV and TSV files stay text.

    Raises:
        InputError: if the file does not exist, is of another type, or is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file or folder.")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} has an unknown type. Allowed: {', '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        return read_parquet(path)
    try:
        if path.suffix == ".jsonl":
            return pd.DataFrame(_json_lines(path))
        # Only an empty cell is missing: "None" and "NA" are labels in some data sets.
        separator = "\t" if path.suffix == ".tsv" else ","
        return pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:  # the errors of pandas are subclasses
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be read as {path.suffix[1:].upper()}: {reason.rstrip('.')}."
        ) from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is not an object")
                yield row


def system_rows(name: str, frame: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """Return the columns of a table of predictions, as of `PredictionFile.rows`.

    Args:
        name: of the file, for messages.
        frame: its content.
        reading: how files are read.

    Raises:
        InputError: if a column is missing.
    """
    # With a file of labels, the names of the other two columns are of that file.
    named = [] if reading.has_gold else [role for role in ("label", "group") if role in reading.columns]
    return _table_rows(name, frame, reading, ["id", "prediction", *named], ["label"])


def _table_rows(
    name: str, frame: pd.DataFrame, reading: Reading, needed: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the columns of a table by role."""
    found = {}
    for role in dict.fromkeys([*needed, *optional]):
        given = reading.columns.get(role)
        names = given.split(",") if given else ROLES[role]
        present = [column for column in names if column in frame]
        if present:
            found[role] = frame[present[0]]
        elif role in needed and given:
            raise InputError(f"{name}: {unknown('column', given, map(str, frame))}")
        elif role in needed:
            raise InputError(
                f"{name} has no column {' or '.join(names)}; name the column with {role}=COLUMN. "
                f"Its columns: {', '.join(map(str, frame))}."
            )
    # 1 in one file and 1.0 in another are one id.
    ids = [identifier(value) or str(value) for value in found["id"].tolist()]
    return pd.DataFrame(found | {"id": pd.Series(ids, found["id"].index, dtype="object")})


def require_texts(name: str, frame: pd.DataFrame, column: str) -> None:
    """Raise an InputError that names a value of a column which is not text."""
    for value in frame[column]:
        if not isinstance(value, str):
            raise InputError(f"{name}: column {column!r} has the value {value!r}, which is not text.")


def numbers(name: str, frame: pd.DataFrame, column: str) -> pd.Series:
    """Return a column as float64.

    Raises:
        InputError: naming a value that is no number.
    """
    values = pd.to_numeric(frame[column], errors="coerce").astype("float64")
    if values.isna().any():
        wrong = frame[column][values.isna()].iloc[0]
        raise InputError(f"{name}: column {column!r} has the value {wrong!r}, which is not a number.")
    return values


def frame_sha256(frame: pd.DataFrame) -> str:
    """Return the first digits of the sha256 of a data frame as CSV."""
    text = cast("str", frame.to_csv(index=False))
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_DIGITS]
