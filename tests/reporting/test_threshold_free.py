"""Scores that need no threshold: computed from predictions, in a table of their own and as a main metric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.rendering import Text, table_as_markdown
from gluelamp.reporting.results import Results
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.summary import common_settings, summarise
from gluelamp.reporting.tables.threshold_free import (
    in_metric,
    threshold_free_page,
    threshold_free_rows,
    with_threshold_free_scores,
)

AddRecord = Callable[..., RunRecord]
AddPredictions = Callable[..., Path]
AddRun = Callable[..., FoundRun]

LABELS = np.arange(200) % 2


def outputs(shift: float, seed: int = 0) -> np.ndarray:
    """Return outputs of two classes that order the rows well, with a shifted threshold."""
    margins = np.random.default_rng(seed).normal(0, 1, 200) + 2 * LABELS + shift
    return np.stack([np.zeros(200), margins], axis=1)


def add(add_record: AddRecord, add_predictions: AddPredictions, method: str, task: str, shift: float) -> None:
    for seed in (1, 2):
        values = outputs(shift, seed)
        score = matthews_corrcoef(LABELS, values[:, 1] > 0)
        record = add_record(method, task, score + 0.01, seed, held_out=score)
        add_predictions(record, LABELS, values)


@pytest.fixture
def results(tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions) -> Results:
    add(add_record, add_predictions, "pafi", "cola", shift=-1)
    add(add_record, add_predictions, "fish", "cola", shift=9)
    add(add_record, add_predictions, "pafi", "mrpc", shift=-1)
    record = add_record("pafi", "stsb", 0.8)
    add_predictions(record, LABELS.astype(float), LABELS.astype(float))
    add_record("hiwi", "cola", 0.5)  # an old run without predictions
    return Results(tmp_path, tmp_path / "published")


def test_the_scores_are_those_of_the_predictions_after_the_last_epoch(results: Results) -> None:
    added = results.accuracy[results.accuracy["metric"].isin(["roc_auc", "matthews_cross_fitted"])]
    assert set(zip(added["method"], added["task"], strict=True)) == {
        ("pafi", "cola"),
        ("fish", "cola"),
        ("pafi", "mrpc"),
    }
    assert set(added["selection"]) == {"last"}
    auc = added[(added["metric"] == "roc_auc") & (added["task"] == "cola")].set_index("method")
    expected = np.mean([roc_auc_score(LABELS, outputs(0, seed)[:, 1]) for seed in (1, 2)])
    # a shift of all margins changes no order
    assert auc["mean"].to_dict() == pytest.approx({"pafi": expected, "fish": expected})
    assert (auc["low"] < expected).all()
    assert (auc["high"] > expected).all()
    crossed = added[(added["metric"] == "matthews_cross_fitted") & (added["task"] == "cola")]
    assert (crossed["mean"] > 0.5).all()


def test_a_collapsed_method_is_marked_and_has_its_scores_without_a_threshold(results: Results) -> None:
    page = threshold_free_page(threshold_free_rows(results.accuracy))
    cola, mrpc = page.tables
    assert cola.title == "minilm_l6, linear head, local data, 3 epochs, last epoch, 2 seeds, CoLA"
    assert [column.title for column in cola.columns] == [
        *("method", "Matthews", "Matthews, cross-fitted threshold", "ROC AUC", "collapsed"),
    ]
    assert [column.title for column in mrpc.columns][1:4] == ["accuracy", "F1", "Matthews"]
    lines = {line.split(" | ")[0]: line.split(" | ") for line in table_as_markdown(cola).splitlines()}
    assert lines["| fish"][1].startswith("0.0 ")
    assert lines["| fish"][-1] == "2 of 2 |"
    assert lines["| pafi"][-1] == "0 of 2 |"
    assert lines["| fish"][3] == lines["| pafi"][3]
    main = {page.name: page for page in results.pages()}["glue_main"].tables[0]
    text = table_as_markdown(main)
    assert "| fish | ours |  |  | 1.0ᶜ [" in text
    assert text.count("ᶜ") == 2  # the cell and the note
    assert "Collapsed: fish on CoLA 2 of 2\n" in text
    assert (
        "in simulations with three seeds, of which some collapse, it contains the true mean in 51 to 77 of"
        in text
    )


def test_roc_auc_is_the_main_metric_only_where_it_exists(results: Results) -> None:
    rows = common_settings(
        in_metric(results.accuracy, "roc_auc").assign(label=results.accuracy["method"]), "last"
    )
    metrics = {(row["method"], row["task"]): row["metric"] for row in rows.to_dict("records")}
    assert metrics == {
        ("pafi", "cola"): "roc_auc",
        ("fish", "cola"): "roc_auc",
        ("pafi", "mrpc"): "roc_auc",
        ("pafi", "stsb"): "pearson",
        ("hiwi", "cola"): "matthews_correlation",
    }
    assert not rows["collapsed"].fillna(0).any()


def test_each_head_has_its_own_table(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    for head, shift in (("linear", 9), ("two_layer", -1)):
        record = add_record("pafi", "cola", 0.5, held_out=0.5, head={"type": head})
        add_predictions(record, LABELS, outputs(shift))
    page = threshold_free_page(threshold_free_rows(Results(tmp_path, tmp_path / "published").accuracy))
    assert [table.title.split(", ")[1] for table in page.tables] == ["two-layer head", "linear head"]
    assert [[row[-1] for row in table.rows] for table in page.tables] == [[Text("0 of 1")], [Text("1 of 1")]]


def test_without_predictions_or_tasks_with_two_classes_there_is_no_table(add_run: AddRun) -> None:
    folder, record = add_run("pafi", "rte")
    (folder / "predictions.parquet").unlink()
    scores = score_table([(folder, record), add_run("pafi", "mnli")])
    pd.testing.assert_frame_equal(with_threshold_free_scores(scores), scores)
    assert threshold_free_rows(summarise(scores)).empty
    assert threshold_free_rows(summarise(score_table([]))).empty
