"""The sources of a LaMP task: official files in a folder, a prepared copy, the official site, the sample."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.request import urlopen

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.io import atomic_write
from gluelamp.tasks.lamp.records import Record, find_file, parse_record, read_golds, read_records
from gluelamp.tasks.lamp.rows import labelled_splits
from gluelamp.tasks.lamp.tasks import FILE_SPLITS, record_format
from gluelamp.tasks.sample.lamp import questions_and_golds
from gluelamp.tasks.sources import read_prepared
from gluelamp.tasks.tables import SAMPLE_PLACE, Reading, Table, numbered
from gluelamp.tasks.task import Task

logger = logging.getLogger(__name__)

SITE = "https://ciir.cs.umass.edu/downloads/LaMP"

_TIMEOUT_S = 60.0  # for one answer or one block of bytes
_FILES = (
    *("train/train_questions.json", "train/train_outputs.json"),
    *("dev/dev_questions.json", "dev/dev_outputs.json"),
    "test/test_questions.json",  # the site has no test outputs
)


def read_lamp_local(task: Task, root: Path, avoid: Path | None = None) -> Reading | None:
    """Read one LaMP task from a folder, or from ``lamp`` inside it; None if it holds nothing of the task.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
        root: the folder.
        avoid: a folder whose prepared copy must not be read, because it will be overwritten.

    Raises:
        InputError: if a file is broken.
    """
    for folder in (root, root / "lamp"):
        prepared = None if avoid and folder.resolve() == avoid.resolve() else read_prepared(task, folder)
        if prepared:
            return prepared
    chosen = find_folder(task, root)
    if chosen is None:
        return None
    # The records are streamed once. They are counted on the way, to compare with the official numbers.
    counts: Counter[str] = Counter()
    splits = labelled_splits(task, _counted(read_records(task, chosen), counts))
    deviations = _deviations(task, chosen, counts)
    return Reading(_tables(splits, str(chosen)), "local", str(chosen), deviations=deviations)


def read_lamp_sample(task: Task) -> Reading:
    """Return the bundled sample of a LaMP task, made by the same reader as the official records."""
    origin = "the bundled sample"
    records = (parse_record(task, *pair, origin) for pair in questions_and_golds(task))
    return Reading(_tables(labelled_splits(task, records), f"{origin}, {task.name}"), "sample", SAMPLE_PLACE)


def find_folder(task: Task, root: Path) -> Path | None:
    """Return the folder with the official files of a task; None if there is none.

    If the root holds such files itself, it is returned. Otherwise the folders with the task's names in
    the root, or in ``lamp`` inside it, are compared: the one with the most gold outputs is returned.

    Args:
        task: the declaration.
        root: the folder to search.
    """
    if _has_files(root):
        return root
    paths = [parent / name for parent in (root, root / "lamp") for name in record_format(task).folders]
    folders = [folder for folder in paths if _has_files(folder)]
    if len(folders) < 2:
        return folders[0] if folders else None
    # A complete copy and a rebuilt dev file may be present together. The copy with more labels is better.
    chosen = max(folders, key=_gold_count)
    logger.info(
        "%s: of %s, %s has the most gold outputs; set data.root to another folder to read that",
        *(task.name, ", ".join(map(str, folders)), chosen),
    )
    return chosen


def download_lamp(task: Task, destination: Path) -> Path:
    """Download the official files of one task under the names that they have on the site.

    A file that exists is complete, since files are written atomically, and is not downloaded again. So
    an interrupted download resumes with the first missing file.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
        destination: such as ``data/lamp``; LaMP-2N goes to ``LaMP_2/train/train_questions.json`` in it.

    Returns:
        The folder of the task.

    Raises:
        InputError: if the site does not have the task, does not answer, or does not send complete JSON.
    """
    folder = record_format(task).site
    if folder is None:
        raise InputError(f"Task {task.name!r} is not part of LaMP and has no official files to download.")
    for name in _FILES:
        path = destination / folder / name
        # Each file of the site has up to 3.4 GB. Complete files are not downloaded twice.
        if path.is_file():
            logger.info("%s exists already", path)
        else:
            _fetch(f"{SITE}/{folder}/{name}", path)
    return destination / folder


def _has_files(folder: Path) -> bool:
    return any(find_file(folder, split, "questions") for split in FILE_SPLITS)


def _gold_count(folder: Path) -> int:
    files = [find_file(folder, split, "outputs") for split in FILE_SPLITS]
    return sum(len(read_golds(path)) for path in files if path)


def _counted(records: Iterable[Record], counts: Counter[str]) -> Iterator[Record]:
    for record in records:
        counts[record.split] += 1
        yield record


def _deviations(task: Task, folder: Path, counts: Mapping[str, int]) -> tuple[str, ...]:
    form = record_format(task)
    sentences = [form.deviation, form.folder_deviations.get(folder.name)]
    if form.site:  # a task that is not on the site has no official numbers
        sentences += [_difference(split, counts[split], form.records.get(split)) for split in FILE_SPLITS]
    return tuple(sentence for sentence in sentences if sentence)


def _difference(split: str, present: int, official: int | None) -> str | None:
    expected = f"; the official one has {official:,}" if official else ""
    if not present:
        return f"{split}_questions.json is missing{expected}"
    if official and present != official:
        return f"{split}_questions.json has {present:,} records{expected}"
    return None


def _tables(splits: Mapping[str, pd.DataFrame], origin: str) -> dict[str, Table]:
    return {split: Table(numbered(frame), f"{origin}, {split}") for split, frame in splits.items()}


def _fetch(address: str, path: Path) -> None:
    try:
        with urlopen(address, timeout=_TIMEOUT_S) as answer, atomic_write(path) as partial:
            size = _save(answer, address, partial)
    except (OSError, HTTPException) as error:
        raise InputError(
            f"{address} could not be downloaded: {error}. Run the same command again."
        ) from error
    logger.info("%s: %s bytes from %s", path, f"{size:,}", address)


def _save(answer: HTTPResponse, address: str, partial: Path) -> int:
    first_byte = answer.read(1)
    if first_byte not in (b"[", b"{"):
        # The site answers wrong addresses with a web page and the status 200.
        raise InputError(f"{address} did not answer with JSON. It may have sent a web page.")
    with partial.open("wb") as file:
        file.write(first_byte)
        shutil.copyfileobj(answer, file, 1 << 20)
    # A closed connection ends the copy without an exception. Only the announced size reveals it.
    size, announced = partial.stat().st_size, answer.headers.get("Content-Length")
    if announced is not None and size != int(announced):
        raise InputError(
            f"{address} announced {int(announced):,} bytes and sent {size:,}. Run the same command again."
        )
    return size
