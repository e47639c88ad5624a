"""Files that are written completely or not at all, locks, and content hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock, Timeout

from gluelamp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_PARTIAL = ".partial"


def user_path(place: str | Path) -> Path:
    """Return a path that a user named, with the home folder in place of ``~``: the rule of all options.

    Args:
        place: relative or absolute. ``~`` counts at the beginning only.

    Raises:
        InputError: if it begins with ``~NAME``, and there is no user of that name.
    """
    try:
        # a path object has lost the dot of ./~
        return Path(place).expanduser() if str(place).startswith("~") else Path(place)
    except RuntimeError as error:
        raise InputError(
            f"{place} is not a path: there is no home folder of that user. A name that begins with ~ is "
            f"written ./{place}."
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder, and rename it to `path` once the block has succeeded.

    A reader finds the old content or the new one, never a part: the temporary file is flushed to disk
    before the rename. If the block raises, the temporary file is removed and `path` is unchanged.

    Args:
        path: the final file. Its folder is created if it is missing.

    Yields:
        the temporary path. The block must create this file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic within one file system only. With a random part, because
    # two processes may write the same file.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{_PARTIAL}")
    try:
        yield temporary
        # without fsync a power failure could leave an empty file under the final name
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder and its subfolders.

    Args:
        folder: no other process may be writing to it.
    """
    for path in folder.rglob(f".*{_PARTIAL}"):
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically, with the same line ends on every platform."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON atomically; keys keep their order.

    Args:
        path: the file.
        content: JSON types only. NaN and infinities become null, since JSON has no such numbers.
    """
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: if the file is not JSON in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_float=_finite_float, parse_constant=_finite_float)
        if r"\ud" in text.lower():  # half of a UTF-16 pair could not be written again
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}. Remove it and run again.") from error


def read_parquet(path: Path) -> pd.DataFrame:
    """Return all columns of a Parquet file; the index counts the rows from 0.

    Raises:
        InputError: if the file is missing, damaged or no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            columns = file.read()
        columns.validate(full=True)  # texts are UTF-8, and offsets are inside of them
        # Without the metadata of pandas, which to_pandas parses even if told to ignore them. As objects,
        # because a column with whole numbers and one null would become floats, which are not exact.
        rows = columns.replace_schema_metadata().to_pandas(integer_object_nulls=True)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} cannot be read as a whole Parquet file: {reason}.") from error
    if not rows.columns.is_unique:
        raise InputError(f"{path} has two columns {rows.columns[rows.columns.duplicated()][0]!r}.")
    return rows


@contextmanager
def locked(path: Path, activity: str, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock file, so that one process at a time writes a result.

    Args:
        path: the lock file, which is not removed. Its folder is created if it is missing.
        activity: for the message, such as ``"results/x is being measured"``.
        wait_s: how long to wait for another process that holds the lock, in seconds.

    Raises:
        InputError: if another process holds the lock for longer than that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # the operating system releases the lock of a killed process
    lock = FileLock(path, timeout=wait_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{activity} by another process; wait for it.") from error
    try:
        yield
    finally:
        lock.release()


def file_sha256(path: Path) -> str:
    """Return the sha256 (hexadecimal) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _finite_float(text: str) -> float:
    # NaN and infinities are no numbers of JSON, and would be written back as null
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
