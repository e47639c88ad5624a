"""From stored predictions to cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.records import RunRecord, find_runs
from gluelamp.reporting.statistics import find_cell, read_cell

AddRecord = Callable[..., RunRecord]
AddPredictions = Callable[..., Path]

LABELS = np.array([0, 1, 1, 0, 1])
OF_SEEDS = {2: np.array([0, 1, 0, 0, 1]), 1: np.array([1, 1, 1, 0, 0])}


def test_a_cell_holds_all_seeds_in_order_on_rows_in_order(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    for seed, predictions in OF_SEEDS.items():
        add_predictions(add_record("pafi", "mrpc", seed=seed), LABELS, predictions, ("last",))
    cell = read_cell(find_runs(tmp_path), "last")
    assert (cell.metric, cell.seeds, cell.lower_is_better) == ("accuracy", (1, 2), False)
    np.testing.assert_array_equal(cell.labels, LABELS)
    np.testing.assert_array_equal(cell.predictions, [OF_SEEDS[1], OF_SEEDS[2]])
    np.testing.assert_array_equal(cell.scores, [0.6, 0.8])
    assert read_cell(find_runs(tmp_path), "last", "f1").scores.tolist() == [2 / 3, 0.8]


def test_a_regression_keeps_its_numbers(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    numbers = np.array([0.5, 3.25, 4.0, 1.0, 2.0])
    add_predictions(add_record(task="stsb"), LABELS.astype(float), numbers)
    cell = read_cell(find_runs(tmp_path), "held_out")
    assert cell.metric == "pearson"
    np.testing.assert_array_equal(cell.predictions, [numbers])


def test_a_metric_of_a_further_split_is_made_from_its_rows(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    record = add_record(task="mnli")
    add_predictions(record, LABELS, LABELS, split="validation_matched")
    add_predictions(record, LABELS[:4], 1 - LABELS[:4], split="validation_mismatched")
    runs = find_runs(tmp_path)
    assert read_cell(runs, "best").scores.tolist() == [1]
    mismatched = read_cell(runs, "best", "accuracy_mismatched")
    assert (mismatched.metric, mismatched.scores.tolist(), len(mismatched.labels)) == ("accuracy", [0], 4)


def test_seeds_on_other_data_are_refused(tmp_path: Path, add_record: AddRecord) -> None:
    add_record(seed=1, fingerprint="a" * 64)
    add_record(seed=2, fingerprint="b" * 64)
    with pytest.raises(InputError, match="are on different data"):
        read_cell(find_runs(tmp_path), "best")


def test_what_is_missing_is_named(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    record = add_record()
    with pytest.raises(InputError, match=r"predictions\.parquet is missing"):
        read_cell(find_runs(tmp_path), "best")
    assert find_cell(find_runs(tmp_path), "best") is None
    add_predictions(record, LABELS, LABELS, ("best",))
    with pytest.raises(InputError, match="no rows of selection 'held_out' and split 'validation'"):
        read_cell(find_runs(tmp_path), "held_out")


def test_damaged_predictions_are_named(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    path = add_predictions(add_record(), LABELS, LABELS, ("best",))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"predictions\.parquet cannot be read as a whole Parquet file"):
        read_cell(find_runs(tmp_path), "best")
    pd.DataFrame({"selection": ["best"]}).to_parquet(path)
    with pytest.raises(InputError, match=r"predictions\.parquet has no column 'split'"):
        read_cell(find_runs(tmp_path), "best")


def test_several_tasks_learnt_at_once_are_no_cell(
    tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions
) -> None:
    add_predictions(add_record(), LABELS, LABELS)
    ((folder, record),) = find_runs(tmp_path)
    assert find_cell([(folder, record)], "best") is not None
    task = record.config.task.model_copy(update={"members": ["cola", "rte"]})
    config = record.config.model_copy(update={"task": task})
    mixture = record.model_copy(update={"config": config})
    assert find_cell([(folder, mixture)], "best") is None
