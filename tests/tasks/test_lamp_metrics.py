"""LaMP's scorer and metrics, against numbers made by hand and scikit-learn."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.metrics import score_files
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.metrics import compute_metrics

Score = Callable[[str, dict[str, str], dict[str, str]], dict[str, float]]


@pytest.fixture
def score(tmp_path: Path) -> Score:
    """Score predictions against golds, both given by id, as files in LaMP's format."""

    def scored(task: str, golds: dict[str, str], answers: dict[str, str]) -> dict[str, float]:
        paths = tmp_path / "golds.json", tmp_path / "answers.json"
        for path, outputs in zip(paths, (golds, answers), strict=True):
            entries = [{"id": name, "output": text} for name, text in outputs.items()]
            path.write_text(json.dumps({"task": "LaMP", "golds": entries}))
        return score_files(LAMP[task], *paths)

    return scored


def test_classes_are_scored_over_all_fifteen(score: Score) -> None:
    golds = {"110": "sports", "111": "sports", "112": "politics", "113": "women"}
    answers = {"113": "weather", "110": " sports\n", "111": "politics", "112": "politics"}
    # sports: precision 1, recall 1/2; politics: precision 1/2, recall 1; women: 0; twelve others: 0
    expected = {"accuracy": 0.5, "macro_f1": (2 / 3 + 2 / 3) / 15}
    assert score("lamp2n", golds, answers) == pytest.approx(expected)


@pytest.mark.parametrize("task", ["lamp3", "lamp3_score", "lamp3_time"])
def test_an_unreadable_rating_counts_as_the_farther_end_of_the_scale(score: Score, task: str) -> None:
    golds = {"20": "5", "21": "1", "22": "3", "23": "4", "24": "2"}
    answers = {"20": "none", "21": "four", "22": "?", "23": "4.5", "24": "nan"}
    errors = [5 - 1, 5 - 1, 5 - 3, 0.5, 5 - 2]
    expected = {"mae": sum(errors) / 5, "rmse": math.sqrt(sum(error**2 for error in errors) / 5)}
    assert score(task, golds, answers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task", "golds", "answers", "message"),
    [
        ("lamp2n", {"1": "women", "2": "women"}, {"1": "women"}, "1 ids are in only one of .*'2'"),
        ("lamp2n", {"1": "women"}, {"01": "women"}, "2 ids are in only one"),
        ("lamp2n", {"1": "classic"}, {"1": "women"}, "gold 'classic' is no label of task 'lamp2n'"),
        ("lamp3", {"1": "four"}, {"1": "4"}, "gold 'four' is not a number"),
    ],
)
def test_files_that_cannot_be_scored_are_refused(
    score: Score, task: str, golds: dict[str, str], answers: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        score(task, golds, answers)


@pytest.mark.parametrize("name", LAMP)
def test_arrays_and_files_have_the_same_metrics(score: Score, name: str) -> None:
    task = LAMP[name]
    rng = np.random.default_rng(0)
    if task.labels:
        labels, predictions = rng.integers(0, len(task.labels), (2, 40))
        labels[labels == 1] = 0  # a class that is never right
        texts = [[task.labels[number] for number in numbers] for numbers in (labels, predictions)]
    else:
        labels, predictions = rng.integers(1, 6, 40).astype(float), rng.normal(3, 2, 40)
        texts = [[repr(float(number)) for number in numbers] for numbers in (labels, predictions)]
    golds, answers = ({str(row): text for row, text in enumerate(column)} for column in texts)
    metrics = compute_metrics(task, predictions, labels)
    assert tuple(metrics) == task.metrics
    for metric, value in score(name, golds, answers).items():
        assert metrics[metric] == pytest.approx(value, rel=1e-12)


def test_the_metrics_are_scikit_learn_s() -> None:
    labels = np.array([0, 0, 1, 3, 4, 4])
    predictions = np.array([0, 1, 1, 4, 4, 0])
    scores, predicted_scores = labels + 1, predictions + 1
    each = sk.f1_score(labels, predictions, labels=[0, 1, 2, 3, 4], average=None, zero_division=0)
    assert compute_metrics(LAMP["lamp3"], predictions, labels) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(labels, predictions),
            "macro_f1": each.sum() / 5,
            "mae": sk.mean_absolute_error(scores, predicted_scores),
            "rmse": sk.root_mean_squared_error(scores, predicted_scores),
        }
    )  # fmt: skip
