"""A user's scores against the committed ones: what is compared, and the reason where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gluelamp.records import FoundRun
from gluelamp.reporting.results import Results, write_tables
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.summary import summarise
from gluelamp.reporting.tables.reference import NO_RUN, reference_page, reference_rows

AddRun = Callable[..., FoundRun]


def against(own: list[FoundRun], reference: list[FoundRun]) -> pd.DataFrame:
    return reference_rows(summarise(score_table(own)), score_table(reference))


def test_the_same_runs_do_not_differ_at_all(add_run: AddRun) -> None:
    runs = [add_run("pafi", "rte", 40 + seed, seed) for seed in (1, 2, 3)]
    (row,) = against(runs, runs).to_dict("records")
    assert (row["mean"], row["reference_mean"]) == (pytest.approx(0.58), pytest.approx(0.58))
    assert (row["difference"], row["low"], row["high"], row["verdict"]) == (0, 0, 0, "tie")
    assert row["not_comparable"] == ""


def test_a_difference_is_that_of_the_means_and_learning_rates_may_differ(add_run: AddRun) -> None:
    own = [add_run("pafi", "rte", 10 + seed, seed, options={"density": 0.1}) for seed in (1, 2, 3)]
    reference = [add_run("pafi", "rte", 60 + seed, seed) for seed in (1, 2, 3)]
    (row,) = against(own, reference).to_dict("records")
    assert row["difference"] == pytest.approx(0.5)
    assert row["low"] < 0.5 < row["high"]
    assert row["verdict"] == "better"
    assert row["other_options"] == "method.density=0.1 (reference: unset)"
    assert against(reference, own)["verdict"].tolist() == ["worse"]


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "head": ({"head": {"train_pooler": True}}, "head.type=two_layer (reference: linear)"),
    "epochs": ({"epochs": 5}, "trainer.epochs=5 (reference: 3)"),
    "another source of data": (
        {"source": "sample", "fingerprint": "e" * 64},
        "sample data (reference: local)",
    ),
    "other rows of one source": ({"fingerprint": "e" * 64}, "other rows"),
    "weights": ({"checksum": "d" * 64}, "backbone.checksum=dddddddd (reference: cccccccc)"),
}


@pytest.mark.parametrize(("changes", "reason"), REASONS.values(), ids=REASONS)
def test_scores_that_are_not_comparable_have_a_reason_and_no_difference(
    add_run: AddRun, changes: dict[str, Any], reason: str
) -> None:
    rows = against([add_run("pafi", "rte", 10, **changes)], [add_run("pafi", "rte", 40)])
    assert rows["not_comparable"].tolist() == [reason]
    assert rows["difference"].isna().all()
    (table,) = reference_page(rows).tables
    assert not table.rows
    assert table.notes[0].replace("\\", "") == f"Not comparable: {reason}. 1 score: pafi."


def test_one_seed_has_no_verdict_and_a_method_without_counterpart_is_named(add_run: AddRun) -> None:
    reference = [add_run("pafi", "rte", 90)]
    own = [add_run("pafi", "rte", 10, epochs=3), add_run("lora", "rte", 10)]
    rows = against(own, reference).set_index("method")
    assert rows.loc["pafi", "verdict"] == "one seed"
    assert rows.loc["lora", "not_comparable"] == NO_RUN
    assert not len(against(own[1:], reference))  # nothing to compare: no table


def test_of_several_reference_settings_the_comparable_one_is_taken(add_run: AddRun) -> None:
    reference = [add_run("pafi", "rte", 40), add_run("pafi", "rte", 20, epochs=5)]
    own = [add_run("pafi", "rte", 30, epochs=5, options={"density": 0.1})]
    (row,) = against(own, reference).to_dict("records")
    assert row["reference_mean"] == pytest.approx(0.8)
    assert row["difference"] == pytest.approx(-0.1)


def test_the_table_is_written_where_there_is_a_reference(tmp_path: Path, add_run: AddRun) -> None:
    for seed in (1, 2):
        add_run("pafi", "rte", 40, seed)
    write_tables(Results(tmp_path, tmp_path / "published", tmp_path))
    written = pd.read_csv(tmp_path / "tables" / "reference.csv")
    assert np.allclose(written["difference"], 0)
    assert "pafi | RTE | 60.0 (2) | 60.0 (2)" in (tmp_path / "tables" / "reference.md").read_text()
