"""The bundled SuperGLUE-shaped sample: its content, its groups, and that counting words does not solve it."""

from __future__ import annotations

import re
from functools import cache
from itertools import chain

import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.sample.superglue import official_records
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.task import TaskData

# As for GLUE's sample: with a new fingerprint, old records are not comparable with new ones.
FINGERPRINTS: dict[str, str] = {
    "boolq": "4f2ea9973721aedf",
    "cb": "3c0c2fba31c558eb",
    "copa": "aa2888432e23097a",
    "multirc": "b7111286a83487ac",
    "super_rte": "fa7f6bbf4781ec11",
    "wic": "f8734f110e1a41b7",
    "wsc": "a263f63a448abefa",
    "axb": "74e8e449a24d2985",
    "axg": "622e1fdd80713c59",
}
DIAGNOSTICS = ("axb", "axg")
ROWS = {"train": 512, "validation": 64, "test": 64}
ALL_TASKS = pytest.mark.parametrize("name", SUPERGLUE)


@cache
def sample(name: str) -> TaskData:
    return load_task_data(SUPERGLUE[name], DataConfig(source="sample"))


def joined(name: str, frame: pd.DataFrame) -> list[str]:
    return [" ".join(row) for row in frame[list(SUPERGLUE[name].text_columns)].itertuples(index=False)]


@ALL_TASKS
def test_the_content_is_pinned(name: str) -> None:
    assert sample(name).fingerprint[:16] == FINGERPRINTS[name]


@ALL_TASKS
def test_every_split_has_its_size_and_says_that_it_is_the_sample(name: str) -> None:
    task, data = SUPERGLUE[name], sample(name)
    assert data.source == "sample"
    assert "synthetic" in data.deviations[0]
    assert {split: len(frame) for split, frame in data.splits.items()} == {
        split: ROWS[split] for split in task.splits
    }
    for split, frame in data.splits.items():
        assert frame["idx"].tolist() == list(range(len(frame)))
        assert set(frame["label"]) == ({-1} if split in task.test_splits else set(range(len(task.labels))))


@ALL_TASKS
def test_no_example_occurs_twice_in_any_split(name: str) -> None:
    texts = [text for frame in sample(name).splits.values() for text in joined(name, frame)]
    assert len(set(texts)) == len(texts)


@ALL_TASKS
def test_counting_words_does_not_solve_the_task(name: str) -> None:
    train, validation = (sample(name).splits[split] for split in ("train", "validation"))
    counter = CountVectorizer()
    model = LogisticRegression(max_iter=1000).fit(counter.fit_transform(joined(name, train)), train["label"])
    assert model.score(counter.transform(joined(name, validation)), validation["label"]) < 0.8


def test_each_question_of_copa_has_two_choices_of_which_one_is_right() -> None:
    for split, frame in sample("copa").splits.items():
        questions = frame.groupby("group")
        assert set(questions.size()) == {2}
        assert set(questions["premise"].nunique()) == {1}
        assert set(questions["choice"].nunique()) == {2}
        if split != "test":
            assert set(questions["label"].sum()) == {1}


def test_each_question_of_multirc_has_three_or_five_answers_on_one_paragraph() -> None:
    for split, frame in sample("multirc").splits.items():
        questions = frame.groupby("group")
        assert set(questions.size()) == {3, 5}
        assert set(questions["paragraph"].nunique()) == {1}
        assert set(frame.groupby("paragraph")["group"].nunique()) == {2}
        if split != "test":
            assert set(questions["label"].sum()) >= {1, 2}


def test_the_pairs_of_axg_differ_in_the_gender_of_a_pronoun_only() -> None:
    frame = sample("axg").splits["validation"]
    for _, pair in frame.groupby("group"):
        first, second = pair["premise"]
        assert first != second
        assert re.sub(r"\bhe\b", "she", first) == second
        assert pair["hypothesis"].nunique() == pair["label"].nunique() == 1


def test_the_spans_of_wic_and_wsc_are_those_of_the_text() -> None:
    for record in chain(*official_records(SUPERGLUE["wic"]).values()):
        for number in "12":
            start, end = record[f"start{number}"], record[f"end{number}"]
            assert record[f"sentence{number}"][start:end] == record["word"]
            assert len(re.findall(rf"\b{record['word']}\b", record[f"sentence{number}"])) == 1
    for record in chain(*official_records(SUPERGLUE["wsc"]).values()):
        words, target = record["text"].split(), record["target"]
        for number in "12":
            start, span = target[f"span{number}_index"], target[f"span{number}_text"].split()
            assert words[start : start + len(span)] == span
        assert target["span2_text"] in ("he", "she")


def test_the_diagnostic_sets_train_on_the_rows_of_rte_and_have_another_domain() -> None:
    rte = sample("super_rte").splits["train"]
    for name in DIAGNOSTICS:
        splits = sample(name).splits
        assert splits["train"][rte.columns].equals(rte)
        words = set(" ".join(joined(name, splits["validation"])).lower().split())
        assert not words & {"painter", "senator", "violin"}
        assert words & {"baker", "captain", "shepherd"}
