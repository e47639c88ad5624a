"""Differences to a reference: by task, and on the mean over tasks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from gluelamp.records import FoundRun
from gluelamp.reporting.entries import entries
from gluelamp.reporting.paired import OVERALL, compared_rows, paired_rows
from gluelamp.reporting.statistics import Estimate, mean_estimate

AddRun = Callable[..., FoundRun]


def paired(runs: list[FoundRun], reference: str = "r") -> pd.DataFrame:
    (some,) = entries(runs).values()
    return paired_rows(some, reference).set_index(["label", "task"])


def test_a_difference_has_the_interval_of_rows_on_which_the_two_disagree(add_run: AddRun) -> None:
    rows = paired([add_run("r", wrong=20), add_run("a", wrong=40)])
    row = rows.loc["a", "rte"]
    assert row["difference"] == pytest.approx(-0.2)
    # 20 of 100 rows differ, all in one direction
    assert row["high"] - row["difference"] == pytest.approx(1.96 * (0.2 * 0.8 / 100) ** 0.5, rel=0.05)
    assert row["verdict"] == "worse"


def test_the_mean_over_tasks_adds_up_variances(add_run: AddRun) -> None:
    runs = [add_run("r", task, wrong=20) for task in ("rte", "sst2", "qnli")]
    runs += [add_run("a", "rte", wrong=35), add_run("a", "sst2", wrong=10)]
    rows = paired(runs)
    mean = rows.loc["a", OVERALL]
    assert mean["tasks"] == "sst2 rte"
    assert mean["difference"] == pytest.approx((-0.15 + 0.1) / 2)
    variance = (0.15 * 0.85 + 0.1 * 0.9) / 100 / 4
    assert mean["high"] - mean["difference"] == pytest.approx(1.96 * variance**0.5, rel=0.05)
    assert mean["p"] > 0.05
    assert mean["low"] < 0 < mean["high"]


def test_small_differences_on_many_tasks_are_found_together(add_run: AddRun) -> None:
    tasks = ("rte", "sst2", "qnli", "qqp")
    runs = [add_run(method, task, wrong=wrong) for task in tasks for method, wrong in (("r", 20), ("a", 23))]
    rows = paired(runs)
    assert set(rows.loc["a"].drop(OVERALL)["verdict"]) == {"tie"}
    assert rows.loc["a", OVERALL]["verdict"] == "worse"


def test_the_family_of_the_mean_are_all_methods(add_run: AddRun) -> None:
    runs = [add_run("r", wrong=20), *(add_run(name, wrong=25, start=5) for name in "abcdef")]
    rows = paired(runs).xs(OVERALL, level="task")
    assert np.allclose(rows["p_holm"], (6 * rows["p"]).clip(upper=1))


def test_equal_predictions_tie_exactly(add_run: AddRun) -> None:
    row = paired([add_run("r"), add_run("a")]).loc["a", OVERALL]
    assert (row["difference"], row["low"], row["high"], row["p"], row["verdict"]) == (0, 0, 0, 1, "tie")


def test_without_the_reference_or_its_predictions_nothing_is_compared(add_run: AddRun) -> None:
    assert paired([add_run("a")]).empty
    reference = add_run("r")
    (reference[0] / "predictions.parquet").unlink()
    assert paired([add_run("a"), reference]).empty


def test_scores_stand_beside_the_differences_to_each_reference(add_run: AddRun) -> None:
    (some,) = entries([add_run("r", wrong=20), add_run("a", wrong=40)]).values()
    rows = compared_rows(some, ["r", "absent"]).set_index(["label", "task"])
    assert rows.loc["a", "rte"]["mean"] == pytest.approx(0.6)
    assert rows.loc["a", "rte"]["vs_r"] == pytest.approx(-0.2)
    assert rows.loc["r", "rte"][["vs_r"]].isna().all()
    assert rows["vs_absent"].isna().all()
    assert list(rows.index) == [("a", "rte"), ("a", OVERALL), ("r", "rte")]


def test_the_mean_of_estimates_adds_up_variances_and_degrees_of_freedom() -> None:
    found = mean_estimate([Estimate(value, 0.1, 2) for value in (1.0, 2.0, 3.0, 4.0)])
    assert (found.value, found.error, found.freedom) == (2.5, pytest.approx(0.05), pytest.approx(8))
    certain = mean_estimate([Estimate(1.0, 0.3, np.inf), Estimate(2.0, 0.4, np.inf)])
    assert (certain.value, certain.error, certain.freedom) == (1.5, pytest.approx(0.25), np.inf)
