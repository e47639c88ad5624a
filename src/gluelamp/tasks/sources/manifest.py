"""The list of the prepared tasks: the source of each task and a checksum of each file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gluelamp.errors import InputError
from gluelamp.io import atomic_write, file_sha256
from gluelamp.tasks.task import Source

_NAME = "manifest.json"
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class PreparedTask:
    """One task of a prepared folder.

    Args:
        source: the source of the rows when they were prepared.
        revision: the hub's commit, where it is known.
        fingerprint: sha256 over the content, as in TaskData.
        rows: number of rows per split.
        deviations: differences from the official splits, one sentence each.
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


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder atomically."""
    with atomic_write(folder / _NAME) as partial:
        partial.write_bytes(_ADAPTER.dump_json(manifest, indent=2) + b"\n")


def checked_files(folder: Path, prepared: PreparedTask) -> dict[str, Path]:
    """Return the files of a task by split, after a check that each is unchanged.

    Raises:
        InputError: if a file is missing or its checksum is not the recorded one.
    """
    for name, checksum in prepared.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing, but {_NAME} lists it; run prepare again.")
        if file_sha256(path) != checksum:
            raise InputError(
                f"{path} was changed or truncated: its sha256 is not that of {_NAME}; run prepare again."
            )
    return {Path(name).stem: folder / name for name in prepared.files}
