"""Fetch LaMP's files from the official site, whole or not at all."""

from __future__ import annotations

import logging
import shutil
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.request import urlopen

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.layout import layout_of
from gluelamp.tasks.sources.files import renamed_when_complete
from gluelamp.tasks.task import Task

logger = logging.getLogger(__name__)

SITE = "https://ciir.cs.umass.edu/downloads/LaMP"

_TIMEOUT_S = 60.0  # for one answer or one block of bytes
_FILES = (
    *("train/train_questions.json", "train/train_outputs.json"),
    *("dev/dev_questions.json", "dev/dev_outputs.json"),
    "test/test_questions.json",  # the site has no test outputs
)


def download(task: Task, destination: Path, site: str = SITE) -> Path:
    """Download the official files of one task under the names that they have on the site.

    A file that is there already is complete, since each is written under a temporary name first; it is
    kept. So an interrupted download goes on where it stopped, file by file.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
        destination: such as ``data/lamp``; LaMP-2N goes to ``LaMP_2/train/train_questions.json`` in it.
        site: the address above the tasks' folders.

    Returns:
        The folder of the task.

    Raises:
        InputError: if the site does not have the task, does not answer, answers with something else
            than JSON, or with less than it announced.
    """
    folder = layout_of(task).site
    if folder is None:
        raise InputError(f"Task {task.name!r} is not LaMP's and has no official files to download.")
    for name in _FILES:
        path = destination / folder / name
        if path.is_file():
            logger.info("%s is there already", path)
        else:
            _fetch(f"{site}/{folder}/{name}", path)
    return destination / folder


def _fetch(address: str, path: Path) -> None:
    try:
        with urlopen(address, timeout=_TIMEOUT_S) as answer, renamed_when_complete(path) as partial:
            size = _save(answer, address, partial)
    except (OSError, HTTPException) as error:
        raise InputError(
            f"{address} could not be downloaded: {error}. Run the same command again."
        ) from error
    logger.info("%s: %s bytes from %s", path, f"{size:,}", address)


def _save(answer: HTTPResponse, address: str, partial: Path) -> int:
    first = answer.read(1)
    if first not in (b"[", b"{"):
        # The site answers wrong addresses with a web page and the status 200.
        raise InputError(f"{address} answered with something else than JSON, a web page for example.")
    with partial.open("wb") as file:
        file.write(first)
        shutil.copyfileobj(answer, file, 1 << 20)
    size, announced = partial.stat().st_size, answer.headers.get("Content-Length")
    if announced is not None and size != int(announced):
        raise InputError(
            f"{address} announced {int(announced):,} bytes and sent {size:,}. Run the same command again."
        )
    return size
