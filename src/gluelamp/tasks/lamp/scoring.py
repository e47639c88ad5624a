"""Score a file of predictions as LaMP's own scorer does (LaMP-Benchmark/LaMP, eval/evaluation.py)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.metrics import accuracy, macro_f1, mae, rmse
from gluelamp.tasks.task import Task

_LOWEST, _HIGHEST = 1.0, 5.0


def score_files(task: Task, golds: Path, predictions: Path) -> dict[str, float]:
    """Return the official metrics of a predictions file.

    Args:
        task: the declaration; the files alone do not say whether their LaMP_2 is news or movies.
        golds: an official ``outputs`` file, ``{"task": ..., "golds": [{"id": ..., "output": ...}, ...]}``.
        predictions: a file of the same form; its outputs stand under ``golds`` too.

    Raises:
        InputError: as `score_contents` does, or if a file is not JSON.
    """
    return score_contents(task, _load(golds), _load(predictions))


def score_contents(task: Task, golds: Mapping[str, Any], predictions: Mapping[str, Any]) -> dict[str, float]:
    """Return the official metrics of predictions: mae and rmse of ratings, else accuracy and macro-F1.

    Outputs are compared without the spaces around them. An answer that is no label is a miss in every
    class; one that is no rating counts as 1 or 5, whichever is farther from the gold, and as 5 if both
    are.

    Args:
        task: the declaration.
        golds: the parsed gold file.
        predictions: the parsed predictions file.

    Raises:
        InputError: if the task names or the ids of both are not equal, if an id is there twice, or if
            a gold is no label of the task.
    """
    if golds.get("task") != predictions.get("task"):
        raise InputError(
            f"The golds are of task {golds.get('task')!r} and the predictions of task "
            f"{predictions.get('task')!r}; the names must be equal, such as 'LaMP_2' with an underscore."
        )
    wanted, answers = _outputs(golds, "golds"), _outputs(predictions, "predictions")
    if differing := sorted(wanted.keys() ^ answers.keys()):
        raise InputError(
            f"The ids of golds and predictions are not equal: {len(differing)} stand in one of them "
            f"only, {differing[0]!r} for example. Give one prediction per gold."
        )
    pairs = [(wanted[name], answers[name]) for name in wanted]
    return _score_ratings(pairs) if "mae" in task.metrics else _score_classes(task, pairs)


def _score_classes(task: Task, pairs: list[tuple[str, str]]) -> dict[str, float]:
    ids = {label: number for number, label in enumerate(task.labels)}
    for gold, _ in pairs:
        if gold not in ids:
            raise InputError(f"The gold {gold!r} is no label of task {task.name!r}: {', '.join(ids)}.")
    labels = np.array([ids[gold] for gold, _ in pairs])
    predicted = np.array([ids.get(answer, -1) for _, answer in pairs])
    return {
        "accuracy": accuracy(predicted, labels),
        "macro_f1": macro_f1(predicted, labels, len(ids)),
    }


def _score_ratings(pairs: list[tuple[str, str]]) -> dict[str, float]:
    labels = [_number(gold) for gold, _ in pairs]
    if None in labels:
        raise InputError(f"The gold {pairs[labels.index(None)][0]!r} is not a number.")
    scores = np.array(labels, np.float64)
    predicted = [_rating(answer, gold) for (_, answer), gold in zip(pairs, scores, strict=True)]
    return {"mae": mae(np.array(predicted), scores), "rmse": rmse(np.array(predicted), scores)}


def _rating(answer: str, gold: float) -> float:
    number = _number(answer)
    if number is not None:
        return number
    return _LOWEST if abs(gold - _LOWEST) > abs(gold - _HIGHEST) else _HIGHEST


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None  # "nan" would spoil the mean of all others


def _outputs(content: Mapping[str, Any], kind: str) -> dict[str, str]:
    entries = content.get("golds")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"The {kind} have no list of ids and outputs under the key 'golds'.")
    if not all({"id", "output"} <= entry.keys() for entry in entries):
        raise InputError(f"The {kind} have an entry without 'id' or without 'output'.")
    outputs = {str(entry["id"]): str(entry["output"]).strip() for entry in entries}
    if len(outputs) < len(entries):
        raise InputError(f"The {kind} have {len(entries) - len(outputs)} ids more than once.")
    return outputs


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a JSON object with the keys 'task' and 'golds'.")
    return content
