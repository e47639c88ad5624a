"""Load the rows of a task, checked, counted and fingerprinted, or write them to a local copy."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.io import atomic_write, file_sha256
from gluelamp.tasks.benchmarks import BENCHMARKS, task_benchmark
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.sources import Manifest, PreparedTask, data_root, read_manifest, write_manifest
from gluelamp.tasks.tables import Reading, normalise
from gluelamp.tasks.task import Task, TaskData, changes_scores

logger = logging.getLogger(__name__)

_HASHED_AT_ONCE = 10_000  # rows; the text of all rows of the largest files would fill the memory


def load_task_data(task: Task, config: DataConfig, avoid: Path | None = None) -> TaskData:
    """Read one task, check every row, and log the source.

    Args:
        task: the declaration.
        config: which source to take.
        avoid: a local folder that must not be read, because it will be overwritten.

    Raises:
        InputError: if the source is not available, lacks the training split or every validation split,
            or holds a row that is not allowed; the message names the file and the row.
    """
    return checked_data(task, task_benchmark(task).read(task, config, avoid))


def checked_data(task: Task, reading: Reading) -> TaskData:
    """Check every row of a reading, and log its source.

    Args:
        task: the declaration.
        reading: the rows as they were read.

    Raises:
        InputError: as `load_task_data`.
    """
    splits = {
        split: normalise(reading.tables[split], task, split)
        for split in task.splits
        if split in reading.tables
    }
    _require_splits(task, splits, reading.place)
    rows = ", ".join(f"{len(frame):,} {split}" for split, frame in splits.items())
    level = logging.WARNING if reading.source == "sample" else logging.INFO
    logger.log(level, "%s: %s rows from %s (%s)", task.name, rows, reading.source, reading.place)
    deviations = tuple(dict.fromkeys((*reading.deviations, *_deviations(task, splits, reading.source))))
    if any(map(changes_scores, deviations)):
        logger.warning("%s: these are not the official rows: %s", task.name, "; ".join(deviations))
    return TaskData(
        task=task,
        source=reading.source,
        splits=splits,
        fingerprint=fingerprint(splits),
        deviations=deviations,
        revision=reading.revision,
    )


def fingerprint(splits: Mapping[str, pd.DataFrame]) -> str:
    """Return the sha256 (hexadecimal) of the rows, independent of the file and layout they came from.

    Each column is hashed as the JSON text ``[split, column, values]``, which is the same on every
    machine, platform and version.
    """
    digest = hashlib.sha256()
    # Sources list splits in different orders. The columns always have the order of `normalise`.
    for split, frame in sorted(splits.items()):
        for column in frame:
            digest.update(f"{json.dumps([split, column])[:-1]}, [".encode())
            # The chunks join to the JSON list of the whole column.
            for start in range(0, len(frame), _HASHED_AT_ONCE):
                values = json.dumps(frame[column].iloc[start : start + _HASHED_AT_ONCE].tolist())
                digest.update(f"{', ' if start else ''}{values[1:-1]}".encode())
            digest.update(b"]]")
    return digest.hexdigest()


def _require_splits(task: Task, splits: Mapping[str, pd.DataFrame], place: str) -> None:
    # The diagnostic set has no training split. One validation split is enough: MNLI has two.
    needed = [{"train"}] if "train" in task.rows else []
    needed += [set(task.validation_splits)] if task.validation_splits else []
    for alternatives in needed:
        if not alternatives & splits.keys():
            raise InputError(
                f"{place} has no {' or '.join(sorted(alternatives))} split of task {task.name!r}; "
                f"found: {', '.join(splits) or 'none'}."
            )


def _deviations(task: Task, splits: Mapping[str, pd.DataFrame], source: str) -> tuple[str, ...]:
    if source == "sample":
        return ("the rows are the bundled synthetic sample, which is no evidence about the benchmark",)
    present = {
        split: f"has {len(splits[split]):,} rows" if split in splits else "is missing"
        for split in task.splits
    }
    return tuple(
        f"{split} {present[split]}; the official split has {official:,}"
        for split, official in task.rows.items()
        if official and (split not in splits or len(splits[split]) != official)
    )


def prepare(tasks: Iterable[Task], config: DataConfig, destination: Path) -> Manifest:
    """Write Parquet files in the hub's layout, and a manifest that describes them.

    Tasks that the folder holds already are replaced; all other tasks are left unchanged. Every file is
    written atomically. The manifest is written last, so that an interrupted run is detected. With
    ``data=hub``, a benchmark that is not on the hub copies its official files instead.

    Args:
        tasks: the tasks to copy.
        config: the source. ``"auto"`` without a root never reads the destination itself.
        destination: the folder to write, such as ``data/glue``.

    Returns:
        The manifest of the folder after all tasks.

    Raises:
        InputError: if a task cannot be read, if it would be read from the destination, or if
            ``"auto"`` finds only the sample where the folder holds real rows.
    """
    # The files of the source would be replaced while they are read.
    root = data_root(config.root, BENCHMARKS["glue"].default_root)
    if (config.source == "local" or config.root) and root.resolve() == destination.resolve():
        raise InputError(f"{destination} is both source and destination; give two different folders.")
    manifest = read_manifest(destination)
    for task in tasks:
        download = task_benchmark(task).download
        if config.source == "hub" and download:
            download(task, destination)
            continue
        data = load_task_data(task, config, avoid=destination)
        # Without a network `auto` falls back to the sample, which must not replace downloaded rows.
        if config.source == "auto" and data.source == "sample":
            _refuse_to_replace_real_rows(manifest, task, destination)
        manifest = Manifest(manifest.tasks | {task.name: _write(data, destination)})
        write_manifest(destination, manifest)
    return manifest


def _refuse_to_replace_real_rows(manifest: Manifest, task: Task, destination: Path) -> None:
    prepared = manifest.tasks.get(task.name)
    is_sample = prepared is not None and prepared.source == "sample"
    if (destination / task.name).exists() and not is_sample:
        raise InputError(
            f"Only the bundled sample of {task.name} is available now, and {destination} holds other "
            "rows of this task; they are not replaced. Set data.source=sample to replace them."
        )


def _write(data: TaskData, destination: Path) -> PreparedTask:
    files = {}
    for split, frame in data.splits.items():
        name = f"{data.task.name}/{split}.parquet"
        with atomic_write(destination / name) as partial:
            frame.to_parquet(partial, index=False)
        files[name] = file_sha256(destination / name)
    return PreparedTask(
        source=data.source,
        revision=data.revision,
        fingerprint=data.fingerprint,
        rows={split: len(frame) for split, frame in data.splits.items()},
        deviations=data.deviations,
        files=files,
    )
