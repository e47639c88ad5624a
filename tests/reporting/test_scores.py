"""The scores table, its summary over seeds, the settings that a table compares, and averages over tasks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.records import FoundRun, RunRecord, find_runs
from gluelamp.reporting.scores import score_table
from gluelamp.reporting.statistics import Predictions, read_predictions
from gluelamp.reporting.summary import common_settings, summarise, task_averages

AddRecord = Callable[..., RunRecord]
AddPredictions = Callable[..., Path]
AddRun = Callable[..., FoundRun]

LABELS = np.array([0, 1, 1, 0, 1])


def summary(root: Path) -> pd.DataFrame:
    return summarise(score_table(find_runs(root)))


def variants(root: Path) -> list[str]:
    return list(summary(root)["variant"].unique())


def chosen(runs: Sequence[FoundRun]) -> pd.DataFrame:
    """Return the rows of a table with one line per method."""
    rows = summarise(score_table(runs))
    return common_settings(rows.assign(label=rows["method"]))


def places(runs: Sequence[FoundRun]) -> list[tuple[str, str]]:
    rows = chosen(runs)
    return list(zip(rows["label"], rows["task"], strict=True))


def test_the_scores_table_has_a_row_per_metric_and_selection_with_all_settings(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record("pafi", "mrpc", 0.6, seed=3, held_out=0.5, options={"density": 0.005})
    add_record("pafi", "mrpc", error="broken", seed=4)
    scores = score_table(find_runs(tmp_path))
    assert list(
        zip(scores["selection"], scores["metric"], scores["is_main"], scores["value"], strict=True)
    ) == [
        *(("held_out", "accuracy", True, 0.5), ("held_out", "f1", False, 0.5)),
        *(("best", "accuracy", True, 0.6), ("best", "f1", False, 0.6)),
        *(("last", "accuracy", True, 0.59), ("last", "f1", False, 0.59)),
    ]
    row = scores.iloc[0]
    columns = ["data", "backbone", "method", "task", "seed", "epochs", "method.density", "data.fingerprint"]
    assert row[columns].tolist() == ["local", "minilm_l6", "pafi", "mrpc", 3, 3, "0.005", "ffffffff"]
    assert score_table([]).empty


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "local"),
        ({"max_train_examples": 100}, "local (subset)"),
        ({"deviations": ("train has 10 rows; the official split has 8,551",)}, "local (deviates)"),
        ({"deviations": ("validation has 9 rows; the official split has 1,043",)}, "local (deviates)"),
        (
            {"max_train_examples": 9, "deviations": ("train has 10 rows; the official split has 8,551",)},
            "local (deviates) (subset)",
        ),
        ({"deviations": ("test_questions.json is missing",)}, "local (deviates)"),
        ({"deviations": ("test is missing; the official split has 1,063",)}, "local"),
        ({"source": "sample", "deviations": ("the rows are the bundled sample",)}, "sample"),
    ],
)
def test_a_run_on_part_of_the_data_is_labelled(
    tmp_path: Path, add_record: AddRecord, changes: dict[str, Any], label: str
) -> None:
    add_record(**changes)
    assert set(score_table(find_runs(tmp_path))["data"]) == {label}


def test_runs_that_differ_in_the_seed_alone_are_one_row_per_metric_and_selection(
    tmp_path: Path, add_record: AddRecord
) -> None:
    values = [0.61, 0.63, 0.68]
    for seed, value in enumerate(values):
        add_record("pafi", "mrpc", value, seed)
    add_record("bitfit", "mrpc", 0.5)
    rows = summary(tmp_path)
    single, rows = rows.iloc[:4], rows.iloc[4:].reset_index()
    keys = list(zip(rows["metric"], rows["selection"], strict=True))
    assert keys == [(metric, selection) for metric in ("accuracy", "f1") for selection in ("best", "last")]
    best = rows.iloc[0]
    assert best["mean"] == pytest.approx(statistics.mean(values))
    assert best["median"] == pytest.approx(statistics.median(values))
    assert best["std"] == pytest.approx(statistics.stdev(values))
    assert (best["seeds"], best["seed_set"], best["epochs"]) == (3, "0 1 2", 3)
    assert rows.loc[1, "mean"] == pytest.approx(statistics.mean(values) - 0.01)
    assert single["std"].isna().all()


def test_a_seed_without_a_score_is_not_averaged_away(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    for seed, value in ((1, 0.9), (2, None)):
        add_predictions(
            add_record("pafi", "stsb", value, seed=seed), LABELS.astype(float), LABELS.astype(float)
        )
    rows = summary(tmp_path)
    assert rows[["mean", "median", "std", "low", "predictions"]].isna().all(axis=None)


def test_variants_are_named_by_the_settings_in_which_they_differ(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for seed in (1, 2):
        add_record("pafi", options={"density": 0.005, "order": "smallest"}, seed=seed)
        add_record("pafi", options={"density": 0.01, "order": "smallest"}, seed=seed)
    add_record("bitfit", epochs=3)
    add_record("bitfit", epochs=10)
    add_record("hiwi", options={"bottleneck": 4})
    add_record("lora", options={})
    add_record("lora", options={"candidates": ["bias"]})
    assert variants(tmp_path) == [
        *("bitfit [trainer.epochs=10]", "bitfit [trainer.epochs=3]", "hiwi"),
        *('lora [candidates=["bias"]]', "lora [candidates=unset]"),
        *("pafi [density=0.005]", "pafi [density=0.01]"),
    ]


def test_rows_that_differ_between_tasks_do_not_make_variants(tmp_path: Path, add_record: AddRecord) -> None:
    add_record("pafi", "cola", fingerprint="a" * 64)
    add_record("pafi", "mnli", fingerprint="b" * 64)
    assert variants(tmp_path) == ["pafi"]
    add_record("pafi", "mnli", fingerprint="c" * 64)
    assert variants(tmp_path) == [
        *("pafi", "pafi [data.fingerprint=bbbbbbbb]", "pafi [data.fingerprint=cccccccc]"),
    ]


def test_a_run_with_other_rows_or_training_than_most_is_labelled(
    tmp_path: Path, add_record: AddRecord
) -> None:
    for method in ("bitfit", "hiwi", "lora"):
        add_record(method, "cola", fingerprint="a" * 64)
    add_record("full", "cola", fingerprint="b" * 64)
    add_record("pafi", "cola", fingerprint="a" * 64, epochs=50)
    assert variants(tmp_path) == [
        *("bitfit", "full [data.fingerprint=bbbbbbbb]", "hiwi", "lora", "pafi [trainer.epochs=50]")
    ]


@pytest.mark.parametrize(
    ("change", "column"),
    [("source", "data"), ("fingerprint", "data.fingerprint"), ("checksum", "backbone.checksum")],
)
def test_sources_rows_and_weights_are_never_mixed(
    tmp_path: Path, add_record: AddRecord, change: str, column: str
) -> None:
    for value in ("a" * 8, "b" * 8):
        add_record(seed=1, **{change: value})
        add_record(seed=2, **{change: value})
    rows = summary(tmp_path)
    assert set(rows["seeds"]) == {2}
    assert set(rows[column]) == {"a" * 8, "b" * 8}
    assert len(rows) == 4


def test_one_setting_per_method_is_chosen_by_tasks_and_runs_and_never_by_scores(add_run: AddRun) -> None:
    runs = [add_run("a", wrong=0, options={"rank": 1})]
    runs += [add_run("a", wrong=50, seed=seed, options={"rank": 2}) for seed in (1, 2)]
    assert chosen(runs)["mean"].tolist() == [0.5]  # more runs
    runs += [add_run("a", "sst2", wrong=10, options={"rank": 1})]
    assert chosen(runs)["mean"].tolist() == [0.9, 1.0]  # more tasks
    runs += [add_run("b", "qnli", options={"rank": 1}), add_run("a", "qnli", options={"rank": 3})]
    assert places(runs) == [("a", "sst2"), ("a", "rte"), ("b", "qnli")]


def training(epochs: int, **changes: object) -> dict[str, Any]:
    return {"trainer": {"epochs": epochs, "learning_rate": 0.1, **changes}}


def test_all_methods_have_the_training_settings_of_most_runs(add_run: AddRun) -> None:
    runs = [add_run(method, **training(3)) for method in "ab"]
    runs += [add_run("b", seed=seed, wrong=0, **training(10)) for seed in (1, 2)]
    runs += [add_run("c", **training(3, batch_size=16)), add_run("d", **training(10))]
    runs += [add_run(method, "sst2", **training(3)) for method in "ab"]
    # learning rates are a method's own
    runs += [add_run(rate, **training(3, **{rate: 0.2})) for rate in ("learning_rate", "head_learning_rate")]
    assert places(runs) == [
        *(("a", "sst2"), ("a", "rte"), ("b", "sst2"), ("b", "rte")),
        *(("head_learning_rate", "rte"), ("learning_rate", "rte")),
    ]
    assert set(chosen(runs)["epochs"]) == {3}


def test_weights_and_data_are_the_same_for_all(add_run: AddRun) -> None:
    runs = [add_run(method) for method in "ab"]
    others = ({"checksum": "d" * 64}, {"fingerprint": "1" * 64})
    runs += [add_run("c", seed=seed, **other) for seed, other in enumerate(others)]
    assert places(runs) == [("a", "rte"), ("b", "rte")]


def test_scopes_are_sources_backbones_and_subsets(add_run: AddRun) -> None:
    runs = [
        *(add_run("a"), add_run("a", source="hub")),
        *(add_run("a", backbone="bert_base"), add_run("a", max_train_examples=100)),
    ]
    assert chosen(runs)[["data", "backbone"]].to_numpy().tolist() == [
        *(["hub", "minilm_l6"], ["local", "bert_base"], ["local", "minilm_l6"]),
        ["local (subset)", "minilm_l6"],
    ]


def test_the_cross_fitted_selection_counts_only_if_all_runs_have_it(
    tmp_path: Path, add_run: AddRun, add_record: AddRecord
) -> None:
    assert set(chosen([add_run("a")])["selection"]) == {"held_out"}
    add_record("b", "rte", 0.6)
    assert set(chosen(find_runs(tmp_path))["selection"]) == {"best"}


def test_a_score_has_an_interval_and_sizes_in_percent_of_the_backbone(add_run: AddRun) -> None:
    runs = [add_run("a", wrong=20, seed=seed, stored=8000) for seed in (1, 2)]
    (row,) = chosen(runs).to_dict("records")
    assert (row["mean"], row["std"], row["seeds"], row["metric"]) == (0.8, 0, 2, "accuracy")
    # 100 rows; both seeds are wrong on the same ones, so a second seed adds nothing
    assert row["high"] - row["mean"] == pytest.approx(1.96 * (0.8 * 0.2 / 100) ** 0.5, rel=0.05)
    assert (row["trained_pct"], row["stored_pct"]) == (1.0, 2.0)  # 8,000 of 4 x 100,000 bytes
    (runs[0][0] / "predictions.parquet").unlink()
    (row,) = chosen(runs).to_dict("records")
    assert row["mean"] == 0.8
    assert np.isnan(row["low"])


def averages(root: Path) -> pd.DataFrame:
    rows = summary(root)
    return task_averages(rows[rows["is_main"] & (rows["selection"] == "best")], "variant")


def test_an_average_is_over_the_same_tasks_and_seeds_for_every_method(
    tmp_path: Path, add_record: AddRecord
) -> None:
    add_record("bitfit", "rte", 0.5)
    assert averages(tmp_path).empty  # one task
    for method, value in (("bitfit", 0.3), ("pafi", 0.7), ("full", None)):
        add_record(method, "cola", value)
        add_record(method, "rte", 0.5)
    add_record("hiwi", "cola")  # a task is missing
    add_record("lora", "cola", seed=1)
    add_record("lora", "rte", seed=2)  # other seeds
    rows = averages(tmp_path)
    assert rows["variant"].tolist() == ["bitfit", "pafi"]
    assert rows["mean"].tolist() == pytest.approx([0.4, 0.6])
    assert set(rows["tasks"]) == {"cola rte"}


def test_of_equally_frequent_seeds_the_most_count(tmp_path: Path, add_record: AddRecord) -> None:
    for method, seeds in (("a", (1,)), ("b", (1, 2)), ("c", (3, 4))):
        for task in ("cola", "rte"):
            for seed in seeds:
                add_record(method, task, seed=seed)
    assert averages(tmp_path)["variant"].tolist() == ["b"]


def test_the_average_of_glue_is_over_eight_tasks(tmp_path: Path, add_record: AddRecord) -> None:
    tasks = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte")
    for number, task in enumerate(tasks):
        add_record(task=task, score=number / 10)
    add_record(task="wnli", score=0.9)  # excluded, as in papers
    (row,) = averages(tmp_path).to_dict("records")
    assert (row["mean"], row["tasks"]) == (pytest.approx(0.35), " ".join(tasks))


def read(root: Path, selection: str = "best", metric: str = "accuracy") -> Predictions | None:
    scores = score_table(find_runs(root))
    return read_predictions(scores[(scores["selection"] == selection) & (scores["metric"] == metric)])


def test_predictions_have_all_seeds_and_rows_in_order(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    outputs = {2: np.array([0, 1, 0, 0, 1]), 1: np.array([1, 1, 1, 0, 0])}
    for seed, predictions in outputs.items():
        add_predictions(add_record("pafi", "mrpc", seed=seed), LABELS, predictions, ("last",))
    found = read(tmp_path, "last")
    assert found is not None
    assert (found.metric, found.seeds, found.lower_is_better) == ("accuracy", (1, 2), False)
    np.testing.assert_array_equal(found.labels, LABELS)
    np.testing.assert_array_equal(found.outputs, [outputs[1], outputs[2]])
    np.testing.assert_array_equal(found.scores, [0.6, 0.8])
    f1 = read(tmp_path, "last", "f1")
    assert f1 is not None
    assert f1.scores.tolist() == [2 / 3, 0.8]


def test_numbers_and_further_splits_have_their_own_predictions(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    numbers = np.array([0.5, 3.25, 4.0, 1.0, 2.0])
    add_predictions(add_record(task="stsb"), LABELS.astype(float), numbers)
    mnli = add_record(task="mnli")
    add_predictions(mnli, LABELS, LABELS, split="validation_matched")
    add_predictions(mnli, LABELS[:4], 1 - LABELS[:4], split="validation_mismatched")
    regression, matched = read(tmp_path, metric="pearson"), read(tmp_path)
    mismatched = read(tmp_path, metric="accuracy_mismatched")
    assert regression is not None
    assert matched is not None
    assert mismatched is not None
    np.testing.assert_array_equal(regression.outputs, [numbers])
    assert (matched.scores.tolist(), mismatched.scores.tolist()) == ([1], [0])
    assert (mismatched.metric, len(mismatched.labels)) == ("accuracy", 4)


def test_runs_without_a_file_and_mixtures_of_tasks_have_no_predictions(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    record = add_record(task="rte")
    assert read(tmp_path) is None
    add_predictions(record, LABELS, LABELS)
    assert read(tmp_path) is not None
    scores = score_table(find_runs(tmp_path)).assign(is_mixture=True)
    assert read_predictions(scores.iloc[:1]) is None


def test_damaged_predictions_are_named(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    path = add_predictions(add_record(task="rte"), LABELS, LABELS, ("last",))
    with pytest.raises(InputError, match="no rows of selection 'best' and split 'validation'"):
        read(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"predictions\.parquet cannot be read as a whole Parquet file"):
        read(tmp_path)
    pd.DataFrame({"selection": ["best"]}).to_parquet(path)
    with pytest.raises(InputError, match=r"predictions\.parquet has no column 'split'"):
        read(tmp_path)
