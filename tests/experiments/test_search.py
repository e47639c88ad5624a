"""Trials of a search: which points they are, which rows they train on, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.plan import check_run, plan_run
from gluelamp.experiments.run import execute
from gluelamp.experiments.search import search_points
from gluelamp.package_data import CONFIGS

Compose = Callable[..., dict[str, Any]]
TinyRun = Callable[..., RunConfig]

TRIALS = 12
METHODS = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))


def test_points_are_the_whole_grid_in_one_order() -> None:
    space = {"trainer.learning_rate": [1e-4, 1e-3, 1e-2], "trainer.dropout": [0.0, None]}
    points = search_points(space)
    assert {tuple(point.values()) for point in points} == {
        (rate, dropout) for rate in (1e-4, 1e-3, 1e-2) for dropout in (0.0, None)
    }
    # Pinned: on another machine, a search that was stopped must continue with the same trials. The digits of
    # sha256 of "1 0" to "1 5", from `printf '1 0' | sha256sum`, give the order 1, 3, 5, 0, 4, 2.
    assert [tuple(point.values()) for point in points] == [
        *((1e-4, None), (1e-3, None), (1e-2, None), (1e-4, 0.0), (1e-2, 0.0), (1e-3, 0.0)),
    ]


@pytest.mark.parametrize("method", METHODS)
def test_the_trials_of_each_method_try_each_value_at_least_twice(compose: Compose, method: str) -> None:
    space = compose(f"method={method}")["search"]
    assert {"trainer.learning_rate", "trainer.dropout"} <= space.keys()
    assert None in space["trainer.dropout"]
    assert 0.0 in space["trainer.dropout"]
    trials = search_points(space)[:TRIALS]
    assert len(trials) == TRIALS
    for key, values in space.items():
        assert min(Counter(trial[key] for trial in trials)[value] for value in values) >= 2, key


@pytest.mark.parametrize("method", METHODS)
def test_learning_rates_are_on_a_half_decade_grid(compose: Compose, method: str) -> None:
    for key, values in compose(f"method={method}")["search"].items():
        if key.endswith("learning_rate"):
            rates = [value for value in values if value is not None]
            assert {f"{rate:.1e}"[:3] for rate in rates} <= {"1.0", "3.0"}
            ratios = [high / low for low, high in pairwise(rates)]
            assert ratios == pytest.approx([10**0.5] * len(ratios), rel=0.06)  # 3 and 3.33


def test_a_trial_replaces_the_options_and_is_no_part_of_the_run(compose: Compose) -> None:
    raw = compose("method=xpeft", "trial=5")
    point = search_points(raw["search"])[5]
    config = parse_run(raw)
    assert config.trainer.learning_rate == point["trainer.learning_rate"]
    assert config.trainer.head_learning_rate == point["trainer.head_learning_rate"]
    assert config.trainer.dropout == point["trainer.dropout"]
    assert config.method.inner_layer_norm == point["method.inner_layer_norm"]
    words = [f"{key}={'null' if value is None else value}" for key, value in point.items()]
    assert config == parse_run(compose("method=xpeft", *words))


def test_without_a_trial_the_options_stay(compose: Compose) -> None:
    raw = compose("method=pafi")
    assert parse_run(raw).trainer.learning_rate == raw["trainer"]["learning_rate"]


@pytest.mark.parametrize(
    ("search", "trial", "message"),
    [
        ({}, 0, "no search space"),
        ({"trainer.dropout": [0.0]}, 1, "has 1 points"),
        ({"trainer.dropout": [0.0]}, -1, "from 0 to 0"),
        ({"trainer.dropout": 0.0}, 0, "list of values"),
        ({"trainer.dropot": [0.0]}, 0, "did you mean 'trainer.dropout'"),
    ],
)
def test_a_wrong_trial_is_refused(compose: Compose, search: dict[str, Any], trial: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_run({**compose("method=pafi"), "search": search, "trial": trial})


def test_held_out_training_rows_are_validation_rows_and_not_trained_on(tiny_run: TinyRun) -> None:
    official = plan_run(tiny_run()).data[0].splits
    plan = plan_run(tiny_run("task.validation_from_train=30"))
    (data,) = plan.data
    train, validation = plan.training_rows(data), data.splits["validation"]
    assert len(validation) == 30
    assert len(train) == 48
    assert not set(train["idx"]) & set(validation["idx"])
    assert {*train["idx"], *validation["idx"]} <= set(official["train"]["idx"])
    again = plan_run(tiny_run("task.validation_from_train=30", "seed=7")).data[0].splits
    assert again["validation"].equals(validation)
    assert "validation has 30 rows of the training split, not trained on" in data.deviations


def test_a_run_without_held_out_training_rows_has_the_identity_of_earlier_releases(tiny_run: TinyRun) -> None:
    assert "validation_from_train" not in plan_run(tiny_run()).effective["task"]
    assert (
        plan_run(tiny_run("task.validation_from_train=30")).effective["task"]["validation_from_train"] == 30
    )


def test_more_validation_rows_than_training_rows_are_refused(tiny_run: TinyRun) -> None:
    with pytest.raises(InputError, match="some must be left to train on"):
        plan_run(tiny_run("task.validation_from_train=100000"))


def test_rows_of_a_user_are_not_separated(compose: Compose) -> None:
    raw = compose("task=lamp2n", "method=pafi")
    raw["task"] |= {"validation_from_train": 10, "profiles": "shared"}
    with pytest.raises(InputError, match="belong together by their 'user'"):
        check_run(raw)


def test_the_record_of_a_trial_has_a_score_without_a_threshold(tiny_run: TinyRun, tmp_path: Path) -> None:
    record = execute(tiny_run("task.validation_from_train=30", "trainer.epochs=1"))
    assert record.config.task.validation_from_train == 30
    assert record.data.rows["validation"] == 30
    found = next(tmp_path.glob("results/runs/*/*/*/*/predictions.parquet"))
    rows = pd.read_parquet(found).query("selection == 'last'")
    difference = (rows["output_1"] - rows["output_0"]).to_numpy()
    positive, negative = difference[rows["label"] == 1], difference[rows["label"] == 0]
    wins = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    assert record.metrics["last"]["roc_auc"] == pytest.approx(wins)
