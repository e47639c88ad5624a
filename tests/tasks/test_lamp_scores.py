"""LaMP's scorer and metrics, against numbers made by hand and scikit-learn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.metrics import mean_over_users, user_scores
from gluelamp.tasks.lamp.scoring import score_contents, score_files
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.metrics import compute_metrics


def content(outputs: dict[str, str], task: str = "LaMP_2") -> dict:
    return {"task": task, "golds": [{"id": name, "output": text} for name, text in outputs.items()]}


WOMEN = content({"1": "women"})


def test_classes_are_scored_over_all_fifteen() -> None:
    golds = {"110": "sports", "111": "sports", "112": "politics", "113": "women"}
    answers = {"113": "weather", "110": " sports\n", "111": "politics", "112": "politics"}
    # sports: precision 1, recall 1/2; politics: precision 1/2, recall 1; women: 0; twelve others: 0
    expected = {"accuracy": 0.5, "macro_f1": (2 / 3 + 2 / 3) / 15}
    assert score_contents(LAMP["lamp2n"], content(golds), content(answers)) == pytest.approx(expected)


def test_an_unreadable_rating_is_the_farther_end_of_the_scale() -> None:
    golds = {"20": "5", "21": "1", "22": "3", "23": "4", "24": "2"}
    answers = {"20": "none", "21": "four", "22": "?", "23": "4.5", "24": "nan"}
    errors = [5 - 1, 5 - 1, 5 - 3, 0.5, 5 - 2]
    expected = {"mae": sum(errors) / 5, "rmse": math.sqrt(sum(error**2 for error in errors) / 5)}
    for name in ("lamp3", "lamp3_score", "lamp3_time"):
        found = score_contents(LAMP[name], content(golds, "LaMP_3"), content(answers, "LaMP_3"))
        assert found == pytest.approx(expected)


def test_files_are_scored_like_their_contents(tmp_path: Path) -> None:
    golds = content({"00": "[1]", "01": "[2]"}, "LaMP_1")
    answers = content({"00": "[1]", "01": "[1]"}, "LaMP_1")
    for name, one in (("golds", golds), ("answers", answers)):
        (tmp_path / name).write_text(json.dumps(one))
    found = score_files(LAMP["lamp1"], tmp_path / "golds", tmp_path / "answers")
    assert found == pytest.approx({"accuracy": 0.5, "macro_f1": (2 / 3 + 0) / 2})
    (tmp_path / "answers").write_text("<html>")
    with pytest.raises(InputError, match="answers cannot be read as JSON"):
        score_files(LAMP["lamp1"], tmp_path / "golds", tmp_path / "answers")


@pytest.mark.parametrize(
    ("golds", "answers", "meaning"),
    [
        (WOMEN, content({"1": "women"}, "LaMP-2"), "'LaMP_2' and the predictions of task 'LaMP-2'"),
        (content({"1": "women", "2": "women"}), WOMEN, "not equal: 1 stand.*'2'"),
        (WOMEN, content({"01": "women"}), "not equal: 2 stand"),
        (content({"1": "classic"}), WOMEN, "gold 'classic' is no label of task 'lamp2n'"),
        (WOMEN, {"task": "LaMP_2"}, "predictions have no list"),
        (WOMEN, {"task": "LaMP_2", "golds": [{"id": "1"}]}, "predictions have an entry without"),
        ({"task": "LaMP_2", "golds": WOMEN["golds"] * 2}, WOMEN, "more than once"),
    ],
)
def test_what_cannot_be_scored_is_refused(golds: dict, answers: dict, meaning: str) -> None:
    with pytest.raises(InputError, match=meaning):
        score_contents(LAMP["lamp2n"], golds, answers)


@pytest.mark.parametrize("name", LAMP)
def test_the_metrics_of_arrays_are_the_scorer_s(name: str) -> None:
    task = LAMP[name]
    rng = np.random.default_rng(0)
    if task.labels:
        labels, predictions = rng.integers(0, len(task.labels), (2, 40))
        labels[labels == 1] = 0  # a class that is never right
        texts = [[task.labels[number] for number in numbers] for numbers in (labels, predictions)]
    else:
        labels, predictions = rng.integers(1, 6, 40).astype(float), rng.normal(3, 2, 40)
        texts = [[repr(float(number)) for number in numbers] for numbers in (labels, predictions)]
    golds, answers = (content({str(at): text for at, text in enumerate(column)}) for column in texts)
    found = compute_metrics(task, predictions, labels)
    assert tuple(found) == task.metrics
    for metric, value in score_contents(task, golds, answers).items():
        assert found[metric] == pytest.approx(value, rel=1e-12)


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


def test_each_user_s_score_is_the_metric_of_their_rows() -> None:
    frame = pd.DataFrame(
        {"user": ["b", "a", "b", "b"], "prediction": [1, 2, 0, 1], "label": [1, 0, 0, 0]}, index=[9, 8, 7, 7]
    )
    accuracies = user_scores(LAMP["lamp2n"], frame)
    assert accuracies.to_dict("list") == {"user": ["a", "b"], "n": [1, 3], "accuracy": [0.0, 2 / 3]}
    errors = user_scores(LAMP["lamp3_score"], frame)
    assert errors.to_dict("list") == {"user": ["a", "b"], "n": [1, 3], "mae": [2.0, 1 / 3]}


def test_users_count_alike_in_their_mean_and_its_interval() -> None:
    scores = pd.Series(np.random.default_rng(1).normal(0.7, 0.1, 400))
    found = mean_over_users(scores)
    half = 1.96 * scores.std() / math.sqrt(len(scores))
    assert found.mean == pytest.approx(scores.mean())
    assert found.users == 400
    # the bootstrap's ends have noise of their own, about 1 % of the half width at 9,999 samples
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.06 * half)
    assert mean_over_users(scores) == found


def test_one_user_has_no_interval_and_equal_users_a_narrow_one() -> None:
    alone = mean_over_users(pd.Series([0.5]))
    assert (alone.mean, alone.users) == (0.5, 1)
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    equal = mean_over_users(pd.Series([0.5, 0.5, 0.5]))
    assert (equal.low, equal.high) == (0.5, 0.5)


def test_errors_are_better_when_lower() -> None:
    for task in LAMP.values():
        assert task.lower_is_better == (task.main_metric in ("mae", "rmse"))
        assert task.lower_is_better == task.is_regression
