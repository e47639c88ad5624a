"""Load a task's rows from whichever source there is, checked, counted and fingerprinted."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.lamp.sources import read_lamp
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.sources.hub import HubUnavailableError, read_hub
from gluelamp.tasks.sources.local import data_root, read_local
from gluelamp.tasks.sources.normalise import normalise
from gluelamp.tasks.sources.table import Reading, Table, numbered
from gluelamp.tasks.task import Task, TaskData

logger = logging.getLogger(__name__)

_HASHED_AT_ONCE = 10_000  # rows: the largest files fill a memory


def load_task_data(task: Task, config: DataConfig, avoid: Path | None = None) -> TaskData:
    """Read one task, check every row, and say in the log where it came from.

    Args:
        task: the declaration.
        config: which source to take.
        avoid: a local folder that must not be read, because it is about to be written.

    Raises:
        InputError: if the source is not there, lacks train or every validation split, or holds a
            row that is not allowed; the message names the file and the row.
    """
    reading = _read(task, config, avoid)
    splits = {
        split: normalise(reading.tables[split], task, split)
        for split in task.splits
        if split in reading.tables
    }
    _require_splits(task, splits, reading.place)
    rows = ", ".join(f"{len(frame):,} {split}" for split, frame in splits.items())
    level = logging.WARNING if reading.source == "sample" else logging.INFO
    logger.log(level, "%s: %s rows from %s (%s)", task.name, rows, reading.source, reading.place)
    return TaskData(
        task=task,
        source=reading.source,
        splits=splits,
        fingerprint=fingerprint(splits),
        deviations=tuple(dict.fromkeys((*reading.deviations, *_deviations(task, splits, reading.source)))),
        revision=reading.revision,
    )


def fingerprint(splits: Mapping[str, pd.DataFrame]) -> str:
    """Return the sha256 (hexadecimal) of the rows, whatever file or layout they came from.

    Each column is hashed as the JSON text ``[split, column, values]``, which any machine, platform
    and version writes alike.
    """
    digest = hashlib.sha256()
    for split, frame in sorted(splits.items()):
        for column in frame:
            digest.update(f"{json.dumps([split, column])[:-1]}, [".encode())
            for start in range(0, len(frame), _HASHED_AT_ONCE):
                values = json.dumps(frame[column].iloc[start : start + _HASHED_AT_ONCE].tolist())
                digest.update(f"{', ' if start else ''}{values[1:-1]}".encode())
            digest.update(b"]]")
    return digest.hexdigest()


def _read(task: Task, config: DataConfig, avoid: Path | None) -> Reading:
    if task.name in LAMP:
        return read_lamp(task, config.source, config.root, avoid)
    if config.source == "sample":
        return _read_sample(task)
    if config.source == "hub":
        return read_hub(task, config.revision, config.hub_timeout_s)
    root = data_root(config.root)
    local = read_local(task, root, avoid)
    if local:
        return local
    if config.source == "local" or config.root:
        raise InputError(
            f"{root} {'holds no rows of' if root.is_dir() else 'is no folder with'} task "
            f"{task.name!r}. Expected are files such as {task.name}/{task.splits[0]}.jsonl or "
            ".parquet, or the folders of the official glue_data."
        )
    logger.info("%s: no local copy under %s, asking the hub", task.name, root)
    try:
        return read_hub(task, config.revision, config.hub_timeout_s)
    except HubUnavailableError as error:
        logger.info("%s: %s", task.name, error)
        return _read_sample(task)


def _read_sample(task: Task) -> Reading:
    from gluelamp.tasks.sample import generate

    tables = {
        split: Table(numbered(frame), f"the bundled sample, {task.name}/{split}")
        for split, frame in generate(task).items()
    }
    return Reading(tables, "sample", "bundled and synthetic, not the benchmark's rows")


def _require_splits(task: Task, splits: Mapping[str, pd.DataFrame], place: str) -> None:
    needed = [{"train"}] if "train" in task.rows else []
    needed += [set(task.validation_splits)] if task.validation_splits else []
    for choice in needed:
        if not choice & splits.keys():
            raise InputError(
                f"{place} has no {' or '.join(sorted(choice))} split of task {task.name!r}; "
                f"found: {', '.join(splits) or 'none'}."
            )


def _deviations(task: Task, splits: Mapping[str, pd.DataFrame], source: str) -> tuple[str, ...]:
    if source == "sample":
        return ("the rows are the bundled synthetic sample, which says nothing about the benchmark",)
    found = {
        split: f"has {len(splits[split]):,} rows" if split in splits else "is missing"
        for split in task.splits
    }
    return tuple(
        f"{split} {found[split]}; the official split has {official:,}"
        for split, official in task.rows.items()
        if official and (split not in splits or len(splits[split]) != official)
    )
