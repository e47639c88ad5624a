"""The files for the GLUE server (gluebenchmark.com): a TSV per test set, packed in one flat zip."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.io import atomic_write
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.task import Task

_LOG = logging.getLogger(__name__)

SUBMISSION_FILES = tuple(f"{stem}.tsv" for task in GLUE.values() for stem in task.submission.values())
"""The eleven files of a complete submission, in the order of the task declarations."""

# The server expects class names for these test sets and class ids for the others, WNLI included.
_NAMED_CLASSES = ("mnli", "qnli", "rte", "ax")


def write_submission(task: Task, predictions: Mapping[str, pd.DataFrame], folder: Path) -> tuple[str, ...]:
    """Write the server's file for each test split: ``index`` and ``prediction``, in index order.

    Args:
        task: the declaration of the task.
        predictions: per test split, a frame with the columns ``idx`` (int) and ``prediction``
            (class id, or number for a regression task).
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
        name = f"{task.submission[split]}.tsv"
        rows = _server_rows(task, split, frame)
        rows.to_csv(folder / name, sep="\t", index=False, float_format="%.3f", lineterminator="\n")
        deviations += _deviation(name, rows["index"], task.rows[split])
    for sentence in deviations:
        _LOG.warning(sentence)
    return tuple(deviations)


def zip_submission(folder: Path, path: Path) -> tuple[str, ...]:
    """Pack the files of a submission into one flat zip; equal files give equal bytes.

    Args:
        folder: the folder that `write_submission` wrote; other files in it are left out.
        path: the zip to write.

    Returns:
        The names of the missing files, also logged as a warning: the server needs all eleven.

    Raises:
        InputError: if the folder holds none of the files.
    """
    present = [name for name in SUBMISSION_FILES if (folder / name).is_file()]
    if not present:
        raise InputError(
            f"{folder} holds no submission file. Expected some of {', '.join(SUBMISSION_FILES)}: "
            "write them from the test predictions of finished runs first."
        )
    with atomic_write(path) as partial, ZipFile(partial, "w") as archive:
        for name in present:
            archive.writestr(_fixed_entry(name), (folder / name).read_bytes(), ZIP_DEFLATED)
    missing = tuple(name for name in SUBMISSION_FILES if name not in present)
    if missing:
        _LOG.warning(
            "%s lacks %d of the %d files that the GLUE server needs: %s.",
            path.name,
            len(missing),
            len(SUBMISSION_FILES),
            ", ".join(missing),
        )
    return missing


def _server_rows(task: Task, split: str, frame: pd.DataFrame) -> pd.DataFrame:
    where = f"The predictions for split {split!r} of task {task.name!r}"
    if lacking := [name for name in ("idx", "prediction") if name not in frame.columns]:
        raise InputError(
            f"{where} lack the column(s) {', '.join(lacking)}; found {', '.join(frame.columns)}."
        )
    if repeated := int(frame["idx"].duplicated().sum()):
        raise InputError(f"{where} repeat {repeated} idx values; give one row per test example.")
    rows = frame.sort_values("idx")
    values = rows["prediction"]
    return pd.DataFrame(
        {"index": rows["idx"].astype("int64"), "prediction": _server_values(task, values, where)}
    )


def _server_values(task: Task, values: pd.Series, where: str) -> pd.Series:
    if task.label_range is not None:
        if broken := int((~np.isfinite(values)).sum()):
            raise InputError(f"{where} have {broken} values that are not finite; predict again.")
        # A similarity outside the range is not a valid answer. Adding 0.0 turns -0.0 into 0.0.
        return values.clip(*task.label_range) + 0.0
    if wrong := int((~values.isin(range(len(task.labels)))).sum()):
        raise InputError(
            f"{where} have {wrong} values that are not a class id; allowed: 0 to {len(task.labels) - 1}."
        )
    ids = values.astype("int64")
    return ids.map(dict(enumerate(task.labels))) if task.name in _NAMED_CLASSES else ids


# Predictions for a subset are useful to inspect but cannot be scored. So they are written, with a warning.
def _deviation(name: str, index: pd.Series, official: int) -> list[str]:
    lacking = official - int(index.isin(range(official)).sum())
    if lacking == 0 and len(index) == official:
        return []
    return [
        f"{name} has {len(index)} rows and lacks {lacking} of the {official} official test "
        "examples; the GLUE server will refuse it or score it wrongly."
    ]


def _fixed_entry(name: str) -> ZipInfo:
    # Time, system and permissions would make the bytes of equal files differ.
    entry = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # the earliest time that a zip can hold
    entry.create_system = 3  # Unix
    entry.external_attr = 0o644 << 16
    return entry
