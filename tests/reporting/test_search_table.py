"""The search's table: the best trial, the expected best score of fewer trials, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gluelamp.records import FoundRun, RunRecord, write_record
from gluelamp.reporting.results import Results
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.site import write_report
from gluelamp.reporting.summary import summarise
from gluelamp.reporting.tables.search import (
    best_options,
    expected_best,
    search_page,
    search_rows,
    trial_rows,
)

Trial = Callable[..., FoundRun]


@pytest.fixture
def trial(add_record: Callable[..., RunRecord]) -> Trial:
    """Make the record of one trial on one task."""

    def make(
        method: str,
        task: str,
        rate: float,
        score: float,
        dropout: float | None = None,
        epochs: int = 3,
        **options: Any,
    ) -> FoundRun:
        trainer = {"epochs": epochs, "learning_rate": rate, "head_learning_rate": 1e-3, "dropout": dropout}
        record = add_record(method, task, max_train_examples=100, options=options, trainer=trainer)
        raw = record.model_dump(mode="json", exclude_unset=True)
        raw["config"]["task"]["validation_from_train"] = 50
        raw["metrics"]["last"] |= {"pearson": score} if task == "stsb" else {"roc_auc": score}
        return Path(record.identity), RunRecord(**raw)

    return make


@pytest.mark.parametrize("trials", range(1, 7))
def test_the_expected_best_is_the_mean_of_the_best_over_all_subsets(trials: int) -> None:
    scores = np.array([0.3, 0.9, 0.1, 0.5, 0.5, 0.7])
    subsets = [max(subset) for subset in combinations(scores, trials)]
    assert expected_best(scores, trials) == pytest.approx(np.mean(subsets))


def test_the_interval_is_that_of_resampled_trials(trial: Trial) -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3]
    scores = [0.5, 0.6, 0.8, 0.7]
    runs = [trial("pafi", "stsb", rate, score) for rate, score in zip(rates, scores, strict=True)]
    rows = search_rows(trial_rows(runs)).set_index("k")
    # Of four trials with replacement, the mean is below 0.525 or above 0.775 in 5 and 5 of 256 samples.
    samples = np.sort([np.mean([scores[i] for i in index]) for index in np.ndindex(4, 4, 4, 4)])
    assert rows.loc[1, "low"] == pytest.approx(np.percentile(samples, 2.5), abs=0.02)
    assert rows.loc[1, "high"] == pytest.approx(np.percentile(samples, 97.5), abs=0.02)
    assert (rows["low"] <= rows["expected"]).all()
    assert rows["expected"].is_monotonic_increasing
    assert rows.loc[4, ["expected", "high"]].tolist() == pytest.approx([0.8, 0.8])


def test_the_best_trial_has_the_highest_mean_over_tasks(trial: Trial) -> None:
    runs = [
        *(trial("pafi", "cola", 1e-2, 0.60), trial("pafi", "stsb", 1e-2, 0.80)),
        *(trial("pafi", "cola", 1e-3, 0.70), trial("pafi", "stsb", 1e-3, 0.72, dropout=0.0)),
        *(trial("pafi", "cola", 1e-3, 0.71, dropout=0.0),),
    ]
    trials = trial_rows(runs)
    assert trials["score"].tolist() == pytest.approx([0.715, 0.70])  # the trial without STS-B is left out
    assert best_options(trials) == {
        "trainer.dropout": "0.0",
        "trainer.head_learning_rate": "0.001",
        "trainer.learning_rate": "0.001",
    }
    row = search_rows(trials).iloc[0]
    assert (row["trials"], row["cola"], row["stsb"]) == (2, 0.71, 0.72)


def test_an_option_of_the_method_is_a_searched_one_if_trials_differ_in_it(trial: Trial) -> None:
    runs = [
        trial("xpeft", "stsb", 1e-2, score, inner_layer_norm=norm)
        for norm, score in ((True, 0.7), (False, 0.6))
    ]
    options = best_options(trial_rows(runs))
    assert options["method.inner_layer_norm"] == "true"
    assert set(options) - {"method.inner_layer_norm"} == {
        *("trainer.dropout", "trainer.head_learning_rate", "trainer.learning_rate"),
    }


def test_equal_scores_do_not_depend_on_the_order_of_records(trial: Trial) -> None:
    runs = [trial("pafi", "stsb", rate, 0.5) for rate in (1e-3, 1e-2)]
    assert best_options(trial_rows(runs)) == best_options(trial_rows(runs[::-1]))


def test_a_trial_that_diverged_is_a_trial_with_score_0(trial: Trial) -> None:
    runs = [trial("pafi", "stsb", 1e-3, 0.5), trial("pafi", "stsb", 1e-1, 0.9)]
    runs[1] = (runs[1][0], runs[1][1].model_copy(update={"status": "failed", "metrics": {}}))
    rows = search_rows(trial_rows(runs)).set_index("k")
    assert rows["expected"].tolist() == [0.25, 0.5]


def test_scores_on_validation_rows_are_no_trials(trial: Trial, add_record: Callable[..., RunRecord]) -> None:
    runs = [trial("pafi", "stsb", 1e-3, 0.5), (Path("run"), add_record("pafi", "stsb"))]
    assert len(trial_rows(runs)) == 1
    scores = score_table(runs)
    assert set(scores["data"]) == {"local (training rows)", "local"}


def test_searches_with_other_settings_have_tables_of_their_own(trial: Trial) -> None:
    runs = [trial("pafi", "stsb", 1e-3, score, epochs=epochs) for score, epochs in ((0.5, 3), (0.9, 4))]
    page = search_page(search_rows(trial_rows(runs)))
    assert [table.title.partition(": ")[2] for table in page.tables] == [
        f"trained on 100 rows, {epochs} epochs, scored on 50 others" for epochs in (3, 4)
    ]


def test_the_report_has_a_figure_of_the_score_against_the_budget(trial: Trial, tmp_path: Path) -> None:
    scores = [0.50, 0.55, 0.60, 0.65, 0.70]
    for number, score in enumerate(scores):
        folder, record = trial("pafi", "stsb", 10.0**-number, score)
        path = tmp_path / "results" / "search" / "runs" / "minilm" / "pafi" / "stsb" / folder / "record.json"
        path.parent.mkdir(parents=True)
        write_record(path, record)
    written = write_report(Results(tmp_path / "results", tmp_path / "published"))
    assert [path.name for path in written] == [
        *("report.html", "search-budget.svg", "search-budget.png", "search-budget.pdf"),
    ]
    svg = written[1].read_text(encoding="utf-8")
    assert "1 trial" in svg
    assert "4 trials" in svg
    assert "12 trials" not in svg
    assert "expected best score" in svg
    assert 'id="search"' in written[0].read_text(encoding="utf-8")


def test_methods_may_differ_in_dropout(add_record: Callable[..., RunRecord]) -> None:
    runs = [
        (Path(f"{method}-{dropout}"), add_record(method, trainer={"epochs": 3, "dropout": dropout}))
        for method, dropout in (("pafi", None), ("lora", 0.0), ("fish", 0.0))
    ]
    assert sorted(summarise(score_table(runs))["variant"].unique()) == ["fish", "lora", "pafi"]
