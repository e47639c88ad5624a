"""Scores of the page: bold is by the rule of the other tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gluelamp.records import FoundRun
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.site.cells import run_cells
from gluelamp.reporting.site.scores import Scores
from gluelamp.reporting.statistics import rank_intervals
from gluelamp.reporting.summary import common_settings, summarise

AddRun = Callable[..., FoundRun]


@pytest.fixture
def runs(add_run: AddRun) -> list[FoundRun]:
    """The best method, one that is wrong on six rows more, and four that are wrong on twelve others more."""
    options = {"kind": "PaFi"}
    others = ("sparse_random", "sparse_largest", "sparse_middle", "fish")
    return [
        add_run("pafi", start=20, wrong=20, options=options),
        add_run("lt_sft", start=20, wrong=26, options=options),
        *(add_run(name, start=8, wrong=32, options=options) for name in others),
    ]


def tops(runs: Sequence[FoundRun], root: Path) -> set[str]:
    rows = summarise(score_table(runs))
    scores = Scores(common_settings(rows.assign(label=rows["method"])), run_cells(rows, runs, root))
    return {method for method in scores.methods if scores.is_top(method, "rte")}


def test_bold_are_the_methods_whose_rank_can_be_one(runs: list[FoundRun], tmp_path: Path) -> None:
    rows = summarise(score_table(runs)).query("selection == 'held_out'")
    ranks = rank_intervals(dict(zip(rows["method"], rows["predictions"], strict=True)))
    assert tops(runs, tmp_path) == set(ranks.loc[ranks["rank_low"] == 1, "method"]) == {"pafi", "lt_sft"}


def test_there_is_no_bold_where_a_method_has_no_predictions(runs: list[FoundRun], tmp_path: Path) -> None:
    (runs[-1][0] / "predictions.parquet").unlink()
    assert tops(runs, tmp_path) == set()
