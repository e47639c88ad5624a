"""The files for a benchmark's test server: one per test set, packed in one flat zip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.io import atomic_write
from gluelamp.tasks.task import Task

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestServer:
    """The submission format of one benchmark.

    Args:
        name: of the benchmark, for messages.
        suffix: of the files, such as ``".tsv"``.
        files: the names of all files of a complete submission.
        text: returns the content of a task's file from its predictions: a frame in the order of ``idx``
            (int64) with ``prediction`` (checked class ids, int64, or finite numbers) and, if the task has
            groups, ``group`` (str).
    """

    __test__ = False  # the name is not that of a test class

    name: str
    suffix: str
    files: tuple[str, ...]
    text: Callable[[Task, pd.DataFrame], str]


def submit(server: TestServer, task: Task, predictions: Mapping[str, pd.DataFrame], folder: Path) -> Path:
    """Write the files of a task and pack all files of the folder.

    Args:
        server: the format.
        task: the declaration of the task.
        predictions: as of `write_submission`.
        folder: where the files are written, next to those of other tasks.

    Returns:
        The zip, next to the folder and with its name.

    Raises:
        InputError: if the predictions cannot be submitted.
    """
    write_submission(server, task, predictions, folder)
    path = folder.with_suffix(".zip")
    zip_submission(server, folder, path)
    return path


def write_submission(
    server: TestServer, task: Task, predictions: Mapping[str, pd.DataFrame], folder: Path
) -> tuple[str, ...]:
    """Write the server's file for each test split. Equal predictions give equal bytes.

    Args:
        server: the format.
        task: the declaration of the task.
        predictions: for each split of `Task.submission` that is submitted, a frame with the columns ``idx``
            (int), ``prediction`` (class id, or number for a regression task) and, if the task has groups,
            ``group`` (str).
        folder: where the files are written; it is created if it is missing.

    Returns:
        One sentence for each file that does not hold the official test examples, also logged as
        a warning.

    Raises:
        InputError: if a split is not a test split of the task, or its predictions cannot be
            submitted.
    """
    for split in predictions:
        if split not in task.submission:
            raise unknown(f"test split of task {task.name!r}", split, task.submission)
    folder.mkdir(parents=True, exist_ok=True)
    deviations = []
    for split, frame in predictions.items():
        name = f"{task.submission[split]}{server.suffix}"
        rows = _checked(task, split, frame)
        (folder / name).write_bytes(server.text(task, rows).encode())
        deviations += _deviation(server, name, rows["idx"], task.rows[split])
    for sentence in deviations:
        _LOG.warning(sentence)
    return tuple(deviations)


def zip_submission(server: TestServer, folder: Path, path: Path) -> tuple[str, ...]:
    """Pack the files of a submission into one flat zip; equal files give equal bytes.

    Args:
        server: the format.
        folder: the folder that `write_submission` wrote; other files in it are left out.
        path: the zip to write.

    Returns:
        The names of the missing files, also logged as a warning: the server needs all of them.

    Raises:
        InputError: if the folder holds none of the files.
    """
    present = [name for name in server.files if (folder / name).is_file()]
    if not present:
        raise InputError(
            f"{folder} holds no submission file. Expected some of {', '.join(server.files)}: "
            "write them from the test predictions of finished runs first."
        )
    with atomic_write(path) as partial, ZipFile(partial, "w") as archive:
        for name in present:
            archive.writestr(_fixed_entry(name), (folder / name).read_bytes(), ZIP_DEFLATED)
    missing = tuple(name for name in server.files if name not in present)
    if missing:
        _LOG.warning(
            "%s lacks %d of the %d files that the %s server needs: %s.",
            path.name,
            len(missing),
            len(server.files),
            server.name,
            ", ".join(missing),
        )
    return missing


def _checked(task: Task, split: str, frame: pd.DataFrame) -> pd.DataFrame:
    where = f"The predictions for split {split!r} of task {task.name!r}"
    columns = ["idx", "prediction", *(["group"] if task.group_column else [])]
    if lacking := [name for name in columns if name not in frame.columns]:
        raise InputError(
            f"{where} lack the column(s) {', '.join(lacking)}; found {', '.join(frame.columns)}."
        )
    if repeated := int(frame["idx"].duplicated().sum()):
        raise InputError(f"{where} repeat {repeated} idx values; give one row per test example.")
    values = frame["prediction"]
    if task.is_regression:
        if broken := int((~np.isfinite(values)).sum()):
            raise InputError(f"{where} have {broken} values that are not finite; predict again.")
    elif wrong := int((~values.isin(range(len(task.labels)))).sum()):
        raise InputError(
            f"{where} have {wrong} values that are not a class id; allowed: 0 to {len(task.labels) - 1}."
        )
    types = {"idx": "int64"} | ({} if task.is_regression else {"prediction": "int64"})
    return frame[columns].astype(types).sort_values("idx", ignore_index=True)


# Predictions for a subset are useful to inspect but cannot be scored. So they are written, with a warning.
def _deviation(server: TestServer, name: str, index: pd.Series, official: int) -> list[str]:
    lacking = official - int(index.isin(range(official)).sum())
    if lacking == 0 and len(index) == official:
        return []
    return [
        f"{name} has {len(index)} rows and lacks {lacking} of the {official} official test "
        f"examples; the {server.name} server will refuse it or score it wrongly."
    ]


def _fixed_entry(name: str) -> ZipInfo:
    # Time, system and permissions would make the bytes of equal files differ.
    entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the earliest time that a zip can hold
    entry.create_system = 3  # Unix
    entry.external_attr = 0o644 << 16
    return entry
