"""The official SuperGLUE files: official counts, marked words, and diagnostics with RTE's rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.task import TaskData

pytestmark = pytest.mark.real_data

_RTE_NOTE = "the rows are those of GLUE's RTE, whose test split may be in another order than SuperGLUE's"


@pytest.fixture(scope="module", params=["cb", "copa", "super_rte", "wic", "wsc", "axb", "axg"])
def data(request: pytest.FixtureRequest, data_folder: Path) -> TaskData:
    if not (data_folder / "superglue").is_dir():
        pytest.skip(f"no SuperGLUE in {data_folder}")
    source = DataConfig(source="local", root=str(data_folder))
    return load_task_data(SUPERGLUE[request.param], source)


def test_each_split_has_the_official_number_of_rows(data: TaskData) -> None:
    assert {split: len(frame) for split, frame in data.splits.items()} == data.task.rows
    assert data.deviations == ((_RTE_NOTE,) if data.task.name == "super_rte" else ())


def test_labels_are_hidden_in_test_splits_alone(data: TaskData) -> None:
    for split, frame in data.splits.items():
        labels = {-1} if split in data.task.test_splits else set(range(len(data.task.labels)))
        assert set(frame["label"]) == labels


def test_groups_are_pairs_and_words_are_marked(data: TaskData) -> None:
    validation = data.splits["validation"]
    if data.task.group_column:
        assert set(validation.groupby("group").size()) == {2}
    if data.task.one_true_per_group:
        assert set(validation.groupby("group")["label"].sum()) == {1}
    for column, marks in {"wic": {"sentence1": "*", "sentence2": "*"}, "wsc": {"text": "*#"}}.get(
        data.task.name, {}
    ).items():
        for mark in marks:
            # Few official texts hold the character of a mark themselves.
            assert (validation[column].str.count(f"[{mark}]") == 2).mean() > 0.99
