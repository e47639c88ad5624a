"""Matches the rows of prediction files by their ids, and encodes labels and predictions as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.reporting.comparison.files import PredictionFile
from gluelamp.reporting.statistics.metrics import MEAN, REGRESSION, ROC_AUC

CLASS_METRICS = ("accuracy", "macro_f1", "matthews_correlation")
ONE_CLASS_METRICS = ("f1", ROC_AUC)
"""Metrics of one class against all others."""
GROUP_METRICS = ("exact_match", "gender_parity")
"""Metrics that count groups of rows."""
METRICS = (*CLASS_METRICS, *ONE_CLASS_METRICS, *GROUP_METRICS, *REGRESSION)

_EXAMPLES = 3


class Column(NamedTuple):
    """The labels or the predictions of one file.

    Args:
        file: its name, for messages.
        values: as they are in the file, by id.
    """

    file: str
    values: pd.Series


@dataclass(frozen=True)
class MatchedRows:
    """Labels and predictions of the same rows, in the same order.

    Args:
        labels: of all systems.
        predictions: one column per file, by name of the system.
        groups: the number of each row's group; None if rows are independent.
    """

    labels: Column
    predictions: Mapping[str, Sequence[Column]]
    groups: np.ndarray | None


def match_rows(files: Mapping[str, Sequence[PredictionFile]], gold: PredictionFile | None) -> MatchedRows:
    """Match the rows of all files by id.

    Args:
        files: by name of the system.
        gold: the file of the labels; None if the files have them. Then all of them must have the same.

    Raises:
        InputError: if there are no labels, or if ids or labels do not match.
    """
    labelled = gold or next(iter(files.values()))[0]
    if "label" not in labelled.rows:
        raise InputError(
            f"{labelled.name} has no labels. Give a file of labels with gold=FILE, or name their column with "
            "label=COLUMN."
        )
    if labelled.rows.empty:
        raise InputError(f"{labelled.name} has no rows to compare.")
    ids = _sorted(labelled.rows["id"])
    reference = _in_order(labelled, ids, labelled.name)
    labels = Column(labelled.name, reference["label"])
    predictions: dict[str, list[Column]] = {name: [] for name in files}
    for name, file in ((name, file) for name, several in files.items() for file in several):
        rows = _in_order(file, ids, labelled.name)
        if gold is None and "label" in rows:
            _check_labels(Column(file.name, rows["label"]), labels)
        predictions[name].append(Column(file.name, rows["prediction"]))
    groups = np.unique(reference["group"].map(str), return_inverse=True)[1] if "group" in reference else None
    return MatchedRows(labels, predictions, groups)


def encode(metric: str, rows: MatchedRows, positive: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return labels and predictions as numbers.

    Classes are compared as text, and a class that is a number by its value: ``1``, ``"1"`` and ``1.0`` are
    the same class.

    Args:
        metric: one of `METRICS`, or `MEAN`.
        rows: labels and predictions.
        positive: the class of `ONE_CLASS_METRICS`.

    Returns:
        the labels, shape (rows,), and the predictions by name of the system, shape (files, rows).

    Raises:
        InputError: if the metric is unknown or needs groups, if a value is missing or of the wrong type, or
            if no label is the class `positive`.
    """
    if metric not in (*METRICS, MEAN):
        raise unknown("metric", metric, METRICS)
    if metric in GROUP_METRICS and rows.groups is None:
        raise InputError(f"metric={metric} counts groups of rows. Name their column with group=COLUMN.")
    if metric in REGRESSION:
        return _numbers("labels", rows.labels), _each(rows, _numbers)
    labels = _classes("labels", rows.labels)
    if metric == MEAN:  # the predictions are scores already
        return np.zeros(len(labels)), _each(rows, _numbers)
    if metric in ONE_CLASS_METRICS:
        positive = _canonical(positive) or ""
        if positive not in labels:
            raise InputError(
                f"metric={metric} is of one class: name it with positive=CLASS. Classes of the labels: "
                f"{_examples(set(labels))}."
            )
    if metric == ROC_AUC:
        return (labels == positive).astype(float), _each(rows, _numbers)
    predictions = _each(rows, _classes)
    for name, one in predictions.items():
        if not np.isin(one, labels).any():
            raise InputError(
                f"No prediction of {name!r} is a class of the labels. Predictions are "
                f"{_examples(set(one.flat))}; labels are {_examples(set(labels))}. Numbers need "
                f"metric={' or metric='.join(REGRESSION)}."
            )
    # The positive class has number 1. No metric depends on the order of the other classes.
    classes = np.unique(np.concatenate([labels, *map(np.ravel, predictions.values())]))
    codes = np.arange(len(classes), dtype=np.float64)
    if metric == "f1":
        codes = (classes == positive).astype(np.float64)
    return (
        codes[np.searchsorted(classes, labels)],
        {name: codes[np.searchsorted(classes, one)] for name, one in predictions.items()},
    )


def _sorted(ids: pd.Series) -> list[str]:
    # The bootstrap depends on the order of the rows, and must not depend on that of a file. Whole numbers are
    # sorted by value, as are the rows of this suite's predictions.
    by_value = all(one.isdecimal() for one in ids)
    return sorted(set(ids), key=(lambda one: (int(one), one)) if by_value else str)


def _in_order(file: PredictionFile, ids: Sequence[str], labelled: str) -> pd.DataFrame:
    """Return the rows of a file in the order of the ids, of which it must have each once."""
    counts = file.rows["id"].value_counts()
    missing = [one for one in ids if one not in counts.index]
    surplus = sorted(set(counts.index) - set(ids))
    repeated = sorted(counts.index[counts > 1])
    problems = [
        f"{len(found):,} {'id is' if len(found) == 1 else 'ids are'} {problem} ({_examples(found)})"
        for problem, found in (("missing", missing), ("surplus", surplus), ("repeated", repeated))
        if found
    ]
    if problems:
        raise InputError(
            f"{file.name} does not fit {labelled}, which has {len(ids):,} ids: {'; '.join(problems)}. Each "
            "file needs exactly one row for each of these ids."
        )
    return file.rows.set_index("id").loc[list(ids)]


def _check_labels(found: Column, labels: Column) -> None:
    differing = found.values.index[found.values.map(_canonical) != labels.values.map(_canonical)]
    if len(differing):
        raise InputError(
            f"{found.file} and {labels.file} have different labels for {len(differing):,} of "
            f"{len(labels.values):,} ids ({_examples(differing)}). Give the right labels with gold=FILE."
        )


def _each(rows: MatchedRows, encoded: Callable[[str, Column], np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name: np.stack([encoded("predictions", column) for column in columns])
        for name, columns in rows.predictions.items()
    }


def _classes(role: str, column: Column) -> np.ndarray:
    classes = column.values.map(_canonical)
    _check(role, column, classes.isna(), "missing or not finite")
    return classes.to_numpy(str)


def _numbers(role: str, column: Column) -> np.ndarray:
    numbers = pd.to_numeric(column.values, errors="coerce").astype(np.float64)
    _check(role, column, ~np.isfinite(numbers), "missing or no finite number")
    return numbers.to_numpy()


def _check(role: str, column: Column, is_wrong: pd.Series, problem: str) -> None:
    if is_wrong.any():
        wrong = column.values[is_wrong]
        raise InputError(
            f"{column.file}: {len(wrong):,} of {len(column.values):,} {role} are {problem} "
            f"(ids {_examples(wrong.index)}; values {_examples(wrong)})."
        )


def _canonical(value: object) -> str | None:
    """Return a class as text, a number in one spelling; None if it is missing or not finite."""
    if value is None or value is pd.NA:
        return None
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text or None
    if not math.isfinite(number):
        return None
    # Larger whole numbers have several spellings as one float; the sum turns -0.0 into 0.0.
    is_exact = number.is_integer() and abs(number) < 2**53
    return f"{number + 0.0:.0f}" if is_exact else text if number.is_integer() else repr(number)


def _examples(values: Iterable[object]) -> str:
    listed = list(values) if not isinstance(values, set) else sorted(map(str, values))
    shown = ", ".join(repr(str(one)) for one in listed[:_EXAMPLES])
    return f"{shown}, ..." if len(listed) > _EXAMPLES else shown
