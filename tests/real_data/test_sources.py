"""The real GLUE files: official counts, and two independent layouts that agree row by row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data, prepare
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.task import TaskData

pytestmark = pytest.mark.real_data

COMPLETE = ("cola", "mrpc", "rte", "stsb", "sst2", "wnli")
BOTH_LAYOUTS = ("cola", "mrpc", "rte", "stsb", "wnli")


def load(task: str, folder: Path) -> TaskData:
    return load_task_data(GLUE[task], DataConfig(source="local", root=str(folder)))


@pytest.mark.parametrize("task", COMPLETE)
def test_complete_tasks_have_the_official_number_of_rows(data_folder: Path, task: str) -> None:
    data = load(task, data_folder)
    assert data.deviations == ()
    assert {split: len(frame) for split, frame in data.splits.items()} == data.task.rows


@pytest.mark.parametrize("task", BOTH_LAYOUTS)
def test_the_official_files_and_the_hub_s_layout_hold_the_same_rows(data_folder: Path, task: str) -> None:
    hub_layout, official = load(task, data_folder / "glue"), load(task, data_folder / "glue_data")
    for split in hub_layout.task.splits:
        pd.testing.assert_frame_equal(official.splits[split], hub_layout.splits[split])
    assert official.fingerprint == hub_layout.fingerprint


def test_test_labels_are_hidden_except_in_mrpc(data_folder: Path) -> None:
    hidden = {task: set(load(task, data_folder).splits["test"]["label"]) for task in COMPLETE}
    assert hidden.pop("mrpc") == {0, 1}
    assert all(labels == {-1} for labels in hidden.values())


def test_mrpc_dev_rows_have_their_number_in_the_original_file(data_folder: Path) -> None:
    splits = load("mrpc", data_folder / "glue_data").splits
    numbers = sorted([*splits["train"]["idx"], *splits["validation"]["idx"]])
    assert numbers == list(range(4076))


def test_the_sampled_mnli_is_recorded_as_a_deviation(data_folder: Path) -> None:
    data = load("mnli", data_folder)
    assert data.deviations == (
        "train has 8,999 rows; the official split has 392,702",
        "validation_mismatched is missing; the official split has 9,832",
        "test_matched is missing; the official split has 9,796",
        "test_mismatched is missing; the official split has 9,847",
    )
    assert len(data.splits["validation_matched"]) == 9815


@pytest.mark.parametrize("folder", ["glue", "glue_data"])
def test_a_prepared_copy_has_the_same_fingerprint(data_folder: Path, tmp_path: Path, folder: str) -> None:
    source = DataConfig(source="local", root=str(data_folder / folder))
    manifest = prepare([GLUE[task] for task in BOTH_LAYOUTS], source, tmp_path)
    for task in BOTH_LAYOUTS:
        prepared = load(task, tmp_path)
        assert prepared.fingerprint == load(task, data_folder / folder).fingerprint
        assert prepared.fingerprint == manifest.tasks[task].fingerprint
        assert (prepared.source, prepared.deviations) == ("local", ())
