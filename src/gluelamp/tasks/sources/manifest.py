"""The list of what was prepared: where each task came from, and a checksum for each file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gluelamp.errors import InputError
from gluelamp.tasks.task import Source

_NAME = "manifest.json"
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class PreparedTask:
    """One task of a prepared folder.

    Args:
        source: where the rows came from when they were prepared.
        revision: the hub's commit, where it is known.
        fingerprint: sha256 over the content, as in TaskData.
        rows: number of rows per split.
        deviations: what differs from the official splits, one sentence each.
        files: sha256 (hexadecimal) per file, named relative to the folder.
    """

    source: Source
    revision: str | None
    fingerprint: str
    rows: dict[str, int]
    deviations: tuple[str, ...]
    files: dict[str, str]


@dataclass(frozen=True, config=_STRICT)
class Manifest:
    """All tasks of a prepared folder, by name."""

    tasks: dict[str, PreparedTask]
    version: Literal[1] = 1


_ADAPTER = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest:
    """Return the folder's manifest; one without tasks where there is none.

    Raises:
        InputError: if the file is not a manifest of this version.
    """
    path = folder / _NAME
    if not path.is_file():
        return Manifest({})
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path} is not a manifest that this version can read. "
            f"Delete the folder and run prepare again. ({error.errors()[0]['msg']})"
        ) from error


def manifest_file(folder: Path, manifest: Manifest) -> tuple[Path, bytes]:
    """Return the manifest's path in a folder and the bytes that stand there."""
    return folder / _NAME, _ADAPTER.dump_json(manifest, indent=2) + b"\n"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_files(folder: Path, prepared: PreparedTask) -> dict[str, Path]:
    """Return the task's files by split, once each was found unchanged.

    Raises:
        InputError: if a file is missing or its checksum is not the recorded one.
    """
    for name, checksum in prepared.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing, but {_NAME} lists it; run prepare again.")
        if sha256_of(path) != checksum:
            raise InputError(
                f"{path} was changed or truncated: its sha256 is not the one in {_NAME}; run prepare again."
            )
    return {Path(name).stem: folder / name for name in prepared.files}
