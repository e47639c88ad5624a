"""The declarations of all tasks, their benchmarks and the variants of LaMP's tasks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from gluelamp.errors import InputError
from gluelamp.tasks.benchmarks import BENCHMARKS, task_benchmark
from gluelamp.tasks.catalogue import TASKS, variant_name
from gluelamp.tasks.config import TaskConfig
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.lamp.tasks import LAMP, MOVIE_TAGS, NEWS, record_format
from gluelamp.tasks.mixture import find_task
from gluelamp.tasks.task import Task


def test_each_task_belongs_to_the_benchmark_that_lists_it() -> None:
    listed = {name: benchmark for benchmark in BENCHMARKS.values() for name in benchmark.tasks}
    assert listed.keys() == TASKS.keys()
    for name, task in TASKS.items():
        assert task.name == name
        assert task_benchmark(task) is listed[name]
    assert {name: benchmark.name for name, benchmark in BENCHMARKS.items()} == {
        "glue": "glue",
        "superglue": "superglue",
        "lamp": "lamp",
        "custom": "custom",
    }


def test_unknown_names_are_reported_with_the_nearest_task() -> None:
    for wrong, nearest in (("movielens_ratings", "movielens_rating"), ("mprc", "mrpc")):
        with pytest.raises(InputError, match=f"did you mean '{nearest}'"):
            find_task(wrong)


def test_only_glue_has_a_test_server(tmp_path: Path) -> None:
    frame = pd.DataFrame({"idx": range(146), "prediction": 0})
    packed = task_benchmark(GLUE["wnli"]).submit(GLUE["wnli"], {"test": frame}, tmp_path / "seed0")
    assert (packed, packed.is_file()) == (tmp_path / "seed0.zip", True)
    with pytest.raises(InputError, match="'lamp1' has no test server"):
        task_benchmark(LAMP["lamp1"]).submit(LAMP["lamp1"], {}, tmp_path / "seed0")


@pytest.mark.parametrize(
    ("name", "split", "target", "variant"),
    [
        ("lamp3", None, None, "lamp3"),
        ("lamp3", "user", "class", "lamp3"),
        ("lamp3", "time", None, "lamp3_time"),
        ("lamp3", None, "score", "lamp3_score"),
        ("lamp3", "time", "score", "lamp3_score_time"),
        ("lamp3_score", "time", None, "lamp3_score_time"),
        ("lamp3_score_time", "user", "class", "lamp3"),
        ("movielens_rating", "user", "score", "movielens_rating_score"),
    ],
)
def test_split_and_target_choose_the_variant_of_a_task(
    name: str, split: str | None, target: str | None, variant: str
) -> None:
    assert variant_name(name, split, target) == variant
    assert TaskConfig(name=name, split=split, target=target) == TaskConfig(name=variant)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cola", {"target": "score"}),
        ("cola", {"split": "user"}),
        ("lamp2n", {"target": "score"}),
        ("movielens_rating", {"split": "time"}),
    ],
)
def test_a_variant_that_does_not_exist_is_refused(name: str, options: dict[str, str]) -> None:
    (key, value) = next(iter(options.items()))
    with pytest.raises(
        ValidationError, match=f"task.{key}={value} is not allowed: task '{name}' has no such"
    ):
        TaskConfig(name=name, **options)


def test_labels_are_in_the_order_of_the_official_scorer() -> None:
    assert (len(NEWS), len(set(NEWS)), len(MOVIE_TAGS), len(set(MOVIE_TAGS))) == (15, 15, 15, 15)
    assert [LAMP["lamp2n"].labels[number] for number in (0, 8, 11, 14)] == [
        "food & drink", "science & technology", "politics", "healthy living",
    ]  # fmt: skip
    assert [LAMP["lamp2m_time"].labels[number] for number in (0, 4, 11, 14)] == [
        "sci-fi", "twist ending", "thought-provoking", "true story",
    ]  # fmt: skip
    assert LAMP["lamp1"].labels == ("[1]", "[2]")
    assert LAMP["lamp3"].labels == ("1", "2", "3", "4", "5")
    assert LAMP["lamp3_score"].label_range == (1.0, 5.0)


@pytest.mark.parametrize("task", LAMP.values(), ids=LAMP)
def test_each_lamp_task_has_users_labelled_splits_and_official_files(task: Task) -> None:
    assert (task.user_column, task.splits) == ("user", ("train", "validation", "test"))
    assert (task.validation_splits, task.test_splits) == (("validation", "test"), ())
    assert record_format(task).folders
    assert (record_format(task).site is None) == task.name.startswith("movielens")


def test_errors_are_better_when_lower() -> None:
    for task in TASKS.values():
        assert task.lower_is_better == (task.main_metric in ("mae", "rmse"))
    assert {task.user_column for task in GLUE.values()} == {None}
