"""Rows from a folder: a prepared copy, files in the hub's layout, or the official TSV files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gluelamp.errors import InputError
from gluelamp.tasks.sources.files import read_jsonl, read_parquet
from gluelamp.tasks.sources.manifest import checked_files, read_manifest
from gluelamp.tasks.sources.official import read_official
from gluelamp.tasks.sources.table import Reading, Table
from gluelamp.tasks.task import Source, Task

DEFAULT_ROOT = Path("data/glue")

_READERS = {".jsonl": read_jsonl, ".parquet": read_parquet}


def data_root(root: str | None, default: Path = DEFAULT_ROOT) -> Path:
    """Return the folder to look in: the one given, else $GLUELAMP_DATA, else the default."""
    return Path(root or os.environ.get("GLUELAMP_DATA") or default).expanduser()


def read_local(task: Task, root: Path, avoid: Path | None = None) -> Reading | None:
    """Read one task from a folder, or from ``glue`` or ``glue_data`` inside it.

    Args:
        task: the declaration.
        root: the folder.
        avoid: a folder that must not be read, because it is about to be written.

    Returns:
        The splits that are there; None if the folder holds nothing of this task. A prepared copy of
        the bundled sample keeps the source ``"sample"``.

    Raises:
        InputError: if a file is broken, or is not the one that was prepared.
    """
    for folder in (root, root / "glue", root / "glue_data"):
        if avoid and folder.resolve() == avoid.resolve():
            continue
        reading = _read_folder(task, folder)
        if reading.tables:
            return reading
    return None


def read_prepared(task: Task, folder: Path) -> Reading | None:
    """Return the splits of one task that `gluelamp.tasks.prepare` wrote to a folder, if it did.

    Args:
        task: the declaration.
        folder: the folder with the manifest.

    Raises:
        InputError: if a file is broken, or is not the one that was prepared.
    """
    prepared = read_manifest(folder).tasks.get(task.name)
    if prepared is None:
        return None
    source: Source = "sample" if prepared.source == "sample" else "local"
    tables = _read_tables(checked_files(folder, prepared))
    return Reading(tables, source, str(folder), prepared.revision, prepared.deviations)


def _read_folder(task: Task, folder: Path) -> Reading:
    prepared = read_prepared(task, folder)
    if prepared:
        return prepared
    tables = _read_tables(_hub_layout(task, folder)) or read_official(task, folder)
    return Reading(tables, "local", str(folder))


def _read_tables(files: Mapping[str, Path]) -> dict[str, Table]:
    return {split: _READERS[path.suffix](path) for split, path in files.items()}


def _hub_layout(task: Task, folder: Path) -> dict[str, Path]:
    found = {split: _split_files(folder / task.name, split) for split in task.splits}
    for split, paths in found.items():
        if len(paths) > 1:
            both = " and ".join(map(str, paths))
            raise InputError(f"{both} both hold the split {split}; keep one of them.")
    return {split: paths[0] for split, paths in found.items() if paths}


def _split_files(folder: Path, split: str) -> list[Path]:
    names = {split, split.removesuffix("_matched")}  # MNLI: plain `validation` is the matched one
    paths = [folder / f"{name}{suffix}" for name in sorted(names) for suffix in _READERS]
    return [path for path in paths if path.is_file()]
