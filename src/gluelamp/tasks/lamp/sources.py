"""Where the rows of a LaMP task come from: official files, a prepared copy, or the bundled sample."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.files import read_golds
from gluelamp.tasks.lamp.layout import SPLITS, layout_of
from gluelamp.tasks.lamp.records import Record, find_file, parse_record, read_records
from gluelamp.tasks.lamp.rows import labelled_splits
from gluelamp.tasks.sources.local import data_root, read_prepared
from gluelamp.tasks.sources.table import Reading, Table, numbered
from gluelamp.tasks.task import Task

logger = logging.getLogger(__name__)

DEFAULT_ROOT = Path("data/lamp")


def read_lamp(task: Task, source: str, root: str | None, avoid: Path | None = None) -> Reading:
    """Read one LaMP task.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
        source: ``"local"``, ``"sample"`` or ``"auto"``, which takes the sample where nothing is local and
            no root was given.
        root: the local folder; by default $GLUELAMP_DATA, else ``data/lamp``.
        avoid: a folder whose prepared copy must not be read, because it is about to be written.

    Raises:
        InputError: if the source is ``"hub"`` or has nothing of the task, or if a file is broken.
    """
    if source == "hub":
        raise InputError(
            f"Task {task.name!r} is not read from the network. Download its files once: "
            f"python scripts/prepare.py data=hub tasks=[{task.name}] destination={DEFAULT_ROOT}; "
            "then take data=local."
        )
    if source == "sample":
        return _read_sample(task)
    place = data_root(root, DEFAULT_ROOT)
    for folder in (place, place / "lamp"):
        prepared = None if avoid and folder.resolve() == avoid.resolve() else read_prepared(task, folder)
        if prepared:
            return prepared
    chosen = find_folder(task, place)
    if chosen:
        return _read_folder(task, chosen)
    if source == "local" or root:
        raise InputError(
            f"{place} {'holds no files of' if place.is_dir() else 'is no folder with'} task {task.name!r}. "
            f"Expected is a folder {' or '.join(layout_of(task).folders)} with train_questions.json, "
            "train_outputs.json and so on, or data.root naming such a folder itself."
        )
    logger.info("%s: no local copy under %s", task.name, place)
    return _read_sample(task)


def find_folder(task: Task, root: Path) -> Path | None:
    """Return the folder with a task's official files.

    A root that holds such files itself is taken. Else, of the folders with the task's names in the
    root or in ``lamp`` inside it, the one with the most gold outputs; the first of equals.

    Args:
        task: the declaration.
        root: where to look.
    """
    if _has_files(root):
        return root
    places = [parent / name for parent in (root, root / "lamp") for name in layout_of(task).folders]
    folders = [folder for folder in places if _has_files(folder)]
    if len(folders) < 2:
        return folders[0] if folders else None
    chosen = max(folders, key=_gold_count)
    logger.info(
        "%s: of %s, %s has the most gold outputs; name another as data.root to read that",
        *(task.name, ", ".join(map(str, folders)), chosen),
    )
    return chosen


def _has_files(folder: Path) -> bool:
    return any(find_file(folder, split, "questions") for split in SPLITS)


def _gold_count(folder: Path) -> int:
    files = [find_file(folder, split, "outputs") for split in SPLITS]
    return sum(len(read_golds(path)) for path in files if path)


def _read_folder(task: Task, folder: Path) -> Reading:
    counts: Counter[str] = Counter()
    splits = labelled_splits(task, _counted(read_records(task, folder), counts))
    return Reading(
        _tables(splits, str(folder)), "local", str(folder), deviations=_deviations(task, folder, counts)
    )


def _counted(records: Iterable[Record], counts: Counter[str]) -> Iterator[Record]:
    for record in records:
        counts[record.split] += 1
        yield record


def _deviations(task: Task, folder: Path, counts: Mapping[str, int]) -> tuple[str, ...]:
    layout = layout_of(task)
    sentences = [layout.deviation, layout.folder_deviations.get(folder.name)]
    if layout.site:  # without official files there are no official numbers
        sentences += [_difference(split, counts[split], layout.records.get(split)) for split in SPLITS]
    return tuple(sentence for sentence in sentences if sentence)


def _difference(split: str, found: int, official: int | None) -> str | None:
    known = f"; the official one has {official:,}" if official else ""
    if not found:
        return f"{split}_questions.json is missing{known}"
    if official and found != official:
        return f"{split}_questions.json has {found:,} records{known}"
    return None


def _read_sample(task: Task) -> Reading:
    from gluelamp.tasks.sample.lamp import questions_and_golds

    origin = "the bundled sample"
    records = (parse_record(task, *pair, origin) for pair in questions_and_golds(task))
    tables = _tables(labelled_splits(task, records), f"{origin}, {task.name}")
    return Reading(tables, "sample", "bundled and synthetic, not the benchmark's rows")


def _tables(splits: Mapping[str, pd.DataFrame], origin: str) -> dict[str, Table]:
    return {split: Table(numbered(frame), f"{origin}, {split}") for split, frame in splits.items()}
