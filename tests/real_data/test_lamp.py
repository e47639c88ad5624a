"""The real LaMP files: the numbers that were counted in them independently, and no leak."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data, prepare
from gluelamp.tasks.lamp.records import read_golds, read_records
from gluelamp.tasks.lamp.rows import text_key
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.task import TaskData
from lamp_files import assert_no_leak, rows

pytestmark = pytest.mark.real_data


def load(task: str, folder: Path) -> TaskData:
    return load_task_data(LAMP[task], DataConfig(source="local", root=str(folder)))


def sizes(data: TaskData) -> pd.Series:
    return rows(data)["user"].value_counts()


def test_the_rebuilt_dev_file_has_the_counted_authors(data_folder: Path) -> None:
    data = load("lamp2n", data_folder)
    counts = sizes(data)
    assert len(counts) == 103
    assert [int((counts >= least).sum()) for least in (10, 20, 30, 50, 100)] == [38, 24, 16, 11, 9]
    assert (counts.max(), counts.sum()) == (271, 2665)
    assert "the profiles of the rebuilt LaMP-2N dev file" in data.deviations[0]
    # two texts of five train where an author has one to four
    assert {split: len(frame) for split, frame in data.splits.items()} == {
        "train": 1591, "validation": 537, "test": 537,
    }  # fmt: skip


def test_queries_are_labelled_items_of_other_profiles(data_folder: Path) -> None:
    records = list(read_records(LAMP["lamp2n"], data_folder / "lamp" / "LaMP_2N_dev_rebuilt"))
    profile = {item.texts: item.label for record in records for item in record.profile}
    again = [record.query for record in records if record.query and record.query.texts in profile]
    assert (len(records), len(again)) == (1052, 615)
    assert all(profile[query.texts] == query.label for query in again)
    assert sum(record.unknown_labels for record in records) == 0


def test_the_golds_have_the_counted_classes(data_folder: Path) -> None:
    golds = read_golds(data_folder / "lamp" / "LaMP_2N_dev_rebuilt" / "dev_outputs.json")
    assert Counter(golds.values()) == {
        "politics": 577, "entertainment": 141, "parents": 62, "crime": 52, "women": 51, "healthy living": 30,
        "education": 26, "business": 25, "sports": 17, "travel": 16, "style & beauty": 14,
        "science & technology": 14, "food & drink": 10, "religion": 9, "culture & arts": 8,
    }  # fmt: skip
    assert set(golds.values()) == set(LAMP["lamp2n"].labels)


def test_official_news_records_are_read_without_two_golds(data_folder: Path) -> None:
    folder = data_folder / "lamp" / "LaMP_2N"
    records = list(read_records(LAMP["lamp2n"], folder))
    assert Counter(record.split for record in records) == {"train": 4, "dev": 5, "test": 4}
    unlabelled = [record.name for record in records if record.query and record.query.label is None]
    assert unlabelled == ["110", "111", *(f"12{number}" for number in range(4))]
    assert_no_leak(load("lamp2n", folder), recovered=True)


def test_official_citation_records_are_read(data_folder: Path) -> None:
    records = list(read_records(LAMP["lamp1"], data_folder / "lamp" / "LaMP_1"))
    assert Counter(record.split for record in records) == {"train": 5, "dev": 3, "test": 4}
    first = records[0]
    assert first.query is not None
    assert (first.name, first.query.label) == ("000", "[1]")
    assert first.query.texts[0].startswith("Algorithms for routing")
    assert first.query.texts[1].startswith("[1] Reliable broadcasting in")
    assert all(record.query and len(record.profile) > 20 for record in records)
    assert {item.label for record in records for item in record.profile} == {None}


@pytest.mark.parametrize(
    ("task", "labels"), [("movielens_rating", range(5)), ("movielens_rating_score", range(1, 6))]
)
def test_movielens_has_its_users(data_folder: Path, task: str, labels: range) -> None:
    data = load(task, data_folder)
    assert len(sizes(data)) == 354 + 89
    assert set(rows(data)["label"]) == set(labels)
    assert data.deviations == ("MovieLens ratings in LaMP-3's shape, not LaMP",)
    assert_no_leak(data, recovered=False)


def test_no_test_text_of_a_record_is_among_its_training_texts(data_folder: Path) -> None:
    data = load("lamp2n", data_folder)
    assert_no_leak(data, recovered=True)
    same = {name: {text_key((text,)) for text in frame["text"]} for name, frame in data.splits.items()}
    held_out, train = same["test"] | same["validation"], same["train"]
    user = {text_key((text,)): name for text, name in rows(data)[["text", "user"]].to_numpy()}
    path = data_folder / "lamp" / "LaMP_2N_dev_rebuilt" / "dev_questions.json"
    for record in json.loads(path.read_text()):  # the raw file, independent of the reader
        query = record["input"].split(" article: ", 1)[1]
        texts = {text_key((text,)) for text in (query, *(item["text"] for item in record["profile"]))}
        assert len({user[text] for text in texts}) == 1
        assert texts <= train | held_out
        assert not texts & train & held_out


def test_a_prepared_copy_has_the_same_fingerprint(data_folder: Path, tmp_path: Path) -> None:
    manifest = prepare([LAMP["lamp2n"]], DataConfig(source="local", root=str(data_folder)), tmp_path)
    prepared, original = load("lamp2n", tmp_path), load("lamp2n", data_folder)
    assert prepared.fingerprint == original.fingerprint == manifest.tasks["lamp2n"].fingerprint
    assert prepared.deviations == original.deviations
