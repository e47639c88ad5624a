"""LaMP's metrics, by the rules of the official scorer (LaMP-Benchmark/LaMP, eval/evaluation.py)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.records import read_golds
from gluelamp.tasks.task import Task

_LOWEST, _HIGHEST = 1.0, 5.0


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of equal classes; a prediction of -1 is wrong."""
    return float(np.mean(predictions == labels))


def macro_f1(predictions: np.ndarray, labels: np.ndarray, classes: int) -> float:
    """Return the mean F1 over all classes of the task.

    A class that is in neither the predictions nor the labels counts as 0, as in the official scorer.

    Args:
        predictions: class ids, or -1 for an answer that is no class, shape (n,).
        labels: class ids, shape (n,).
        classes: number of classes of the task.
    """
    from sklearn.metrics import f1_score

    # `labels` makes the average run over all classes, not only over those in the data.
    return float(f1_score(labels, predictions, labels=range(classes), average="macro", zero_division=0.0))


def mae(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean absolute error; class ids give the same as scores, since class i is the score i + 1."""
    return float(np.mean(np.abs(predictions - labels)))


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the root mean squared error; class ids of ratings give the same as their scores."""
    return float(np.sqrt(np.mean((predictions - labels) ** 2)))


def lamp_metrics(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the metrics of a LaMP task, in the task's order.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
        predictions: class ids or scores, shape (n,).
        labels: the gold labels, shape (n,).
    """
    functions = {"accuracy": accuracy, "mae": mae, "rmse": rmse}
    return {
        name: macro_f1(predictions, labels, len(task.labels))
        if name == "macro_f1"
        else functions[name](predictions, labels)
        for name in task.metrics
    }


def score_files(task: Task, golds: Path, predictions: Path) -> dict[str, float]:
    """Return the official metrics of a predictions file: mae and rmse of ratings, else accuracy and macro-F1.

    An answer that is no label is wrong for every class. An answer that is no rating counts as 1 or 5,
    whichever is farther from the gold rating; as 5 if both are equally far.

    Args:
        task: the declaration; in the files, both LaMP-2 tasks have the name LaMP_2.
        golds: an official ``outputs`` file, ``{"task": ..., "golds": [{"id": ..., "output": ...}, ...]}``.
        predictions: a file of the same form; its outputs are under ``golds``, too.

    Raises:
        InputError: if a file is not of this form, the ids differ, or a gold is no label of the task.
    """
    expected, answers = read_golds(golds), read_golds(predictions)
    if differing := sorted(expected.keys() ^ answers.keys()):
        raise InputError(
            f"{len(differing)} ids are in only one of {golds} and {predictions}, for example "
            f"{differing[0]!r}. Give one prediction per gold."
        )
    pairs = [(gold, answers[name]) for name, gold in expected.items()]
    return _score_ratings(pairs) if "mae" in task.metrics else _score_classes(task, pairs)


def _score_classes(task: Task, pairs: list[tuple[str, str]]) -> dict[str, float]:
    ids = {label: number for number, label in enumerate(task.labels)}
    for gold, _ in pairs:
        if gold not in ids:
            raise InputError(f"The gold {gold!r} is no label of task {task.name!r}: {', '.join(ids)}.")
    labels = np.array([ids[gold] for gold, _ in pairs])
    classes = np.array([ids.get(answer, -1) for _, answer in pairs])
    return {"accuracy": accuracy(classes, labels), "macro_f1": macro_f1(classes, labels, len(ids))}


def _score_ratings(pairs: list[tuple[str, str]]) -> dict[str, float]:
    labels = [_number(gold) for gold, _ in pairs]
    if None in labels:
        raise InputError(f"The gold {pairs[labels.index(None)][0]!r} is not a number.")
    scores = np.array(labels, np.float64)
    ratings = np.array([_rating(answer, gold) for (_, answer), gold in zip(pairs, scores, strict=True)])
    return {"mae": mae(ratings, scores), "rmse": rmse(ratings, scores)}


def _rating(answer: str, gold: float) -> float:
    # An answer that is no number must not be better than any rating, so it gets the largest error.
    number = _number(answer)
    if number is not None:
        return number
    return _LOWEST if abs(gold - _LOWEST) > abs(gold - _HIGHEST) else _HIGHEST


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None  # "nan" would make the mean NaN
