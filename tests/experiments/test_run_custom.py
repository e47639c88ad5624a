"""Runs on a user's own rows: record, resumed command line, test predictions, users and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.experiments.finished import PredictConfig, write_test_predictions
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.reporting.results import Results, write_tables

if TYPE_CHECKING:
    from gluelamp.experiments.config import RunConfig

OPTIONS = ("task=custom", "data=auto", "task.max_train_examples=null", "trainer.epochs=1", "method=bitfit")


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Forty rows of two users, with two classes and a score."""
    path = tmp_path / "reviews.csv"
    rows = [(f"film {n} was fun", ("bad", "good")[n % 2], n / 8 - 2, f"user{n // 20}") for n in range(40)]
    pd.DataFrame(rows, columns=["text", "label", "score", "who"]).to_csv(path, index=False)
    return path


@pytest.fixture
def run(tiny_run: Callable[..., RunConfig], reviews: Path) -> Callable[..., RunConfig]:
    return lambda *overrides: tiny_run(*OPTIONS, f"task.train={reviews}", *overrides)


def test_the_record_declares_the_task_and_its_command_trains_the_same_run(
    run: Callable[..., RunConfig], tiny_run: Callable[..., RunConfig], tmp_path: Path, tiny_backbone: Path
) -> None:
    config = run()
    record = execute(config)
    declared = record.config.task.custom
    assert declared is not None
    assert (declared.labels, declared.metrics) == (["bad", "good"], ["accuracy", "macro_f1"])
    assert (record.data.source, record.data.rows) == ("custom", {"train": 32, "validation": 8})
    assert record.overrides is not None
    again = tiny_run(*OPTIONS, *record.overrides, f"backbone.path={tiny_backbone}")
    assert plan_run(again).identity == record.identity


def test_a_copy_of_the_file_is_the_same_run_and_other_metrics_are_not(
    run: Callable[..., RunConfig], reviews: Path
) -> None:
    copy = reviews.rename(reviews.with_name("copy.csv"))
    moved = run(f"task.train={copy}", "task.name=reviews")
    identity = plan_run(moved).identity
    copy.rename(reviews)
    assert plan_run(run()).identity == identity
    assert plan_run(run("task.metrics=[macro_f1]")).identity != identity


def test_predictions_of_a_test_file_are_class_names_by_row(
    run: Callable[..., RunConfig], reviews: Path, tmp_path: Path
) -> None:
    execute(run())
    new = tmp_path / "new.jsonl"
    pd.DataFrame({"text": ["fun", "not fun", "a film"]}).to_json(new, orient="records", lines=True)
    written = pd.read_csv(write_test_predictions(run(f"task.test={new}"), PredictConfig()))
    assert written["id"].tolist() == [0, 1, 2]
    assert set(written["prediction"]) <= {"bad", "good"}
    with pytest.raises(InputError, match=r"name a file with task\.test"):
        write_test_predictions(run(), PredictConfig())


def test_tables_are_made_from_the_declarations_in_the_records(
    run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    score = ("task.label=score", "task.metrics=[mae,pearson]", "task.name=scores")
    users = ("task.user=who", "task.profiles=per_user", "task.min_user_rows=3", "task.name=personal")
    mean_of_users = [execute(run(*options)) for options in ((), score, users)][2].metrics["last"]["accuracy"]
    write_tables(Results(tmp_path / "results", tmp_path / "published"))
    tables = tmp_path / "results" / "tables"
    rows = pd.read_csv(tables / "glue_accuracy.csv").set_index(["task", "metric"])
    assert set(rows["data"]) == {"custom"}
    assert {"accuracy", "macro_f1", "roc_auc"} <= set(rows.loc["reviews"].index)
    low, mean, high = rows.loc[("scores", "mae"), ["low", "mean", "high"]].iloc[0]
    assert 0 <= low <= mean <= high
    lamp = pd.read_csv(tables / "lamp.csv").set_index("method")
    assert lamp.loc["bitfit", "user_mean"] == pytest.approx(mean_of_users)
    assert lamp.loc["bitfit", "users"] == 2


def test_a_source_of_a_benchmark_is_refused(run: Callable[..., RunConfig]) -> None:
    config = run()
    local = replace(config, data=replace(config.data, source="local"))
    with pytest.raises(InputError, match="data=local is not allowed with rows of your own"):
        plan_run(local)
