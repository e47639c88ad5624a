"""The bundled GLUE-shaped sample: its content, its shape, and that counting words does not solve it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache

import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.glue import GLUE

# The identity of every run on the sample depends on its content. With a new digest, old records are not
# comparable with new ones, so change it only together with the published results on the sample.
DIGESTS: dict[str, str] = {
    "cola": "6f2ccb6065ea289e34cf5fd19b7b818cbcf01c52084c36773c944dd0de7bf68f",
    "sst2": "3de405d20bfeabc02a6bf05a319032b3caf1a4b44a6b1d73af87ebfd4644c46a",
    "mrpc": "0636069aef76490f00477f9937804675555a33fe0ae668f945c3a8a601eb9520",
    "qqp": "6e3e3068667fb67bf8fbc03160aa1d04de45354bcda9630813c99f5344b87e9f",
    "stsb": "d253d7df0b65d1f7e73e7f0aa69285998e2eb7a9f216891c2f183020e959744c",
    "mnli": "42e7e3e3346cb0de9554288e6aa2822a52fea9b5ba23b4266196c15462cac999",
    "qnli": "8a9c0fe169b7ebd4053e1bf66dee3e2b1baa77492128bbc81d4a0353a62c7458",
    "rte": "7127e494953663865bcd7ef2aa511b799e2a369c5e3f23966acc7627b7334439",
    "wnli": "3ef7cf3c8b778b774caee15279e4ba9e6509b8cbf51fc93e12d10532ca99c76e",
    "ax": "878119acbc3e81f93c9f2bf5105b81d71b000f816d7979aa1ea782fe78ac4ecb",
}
# Fraction of the given class in train and validation, about as in the real tasks.
SKEW = {
    "cola": (1, 0.65, 0.75),
    "sst2": (1, 0.48, 0.58),
    "mrpc": (1, 0.63, 0.73),
    "qqp": (1, 0.33, 0.43),
    "mnli": (0, 0.28, 0.38),
    "qnli": (0, 0.45, 0.55),
    "rte": (0, 0.45, 0.55),
    "wnli": (1, 0.42, 0.58),
}
TRAIN_ROWS = {"rte": 1000, "wnli": 600}
ALL_TASKS = pytest.mark.parametrize("name", GLUE)


@cache
def sample(name: str) -> Mapping[str, pd.DataFrame]:
    """The rows after the checks of every source."""
    return load_task_data(GLUE[name], DataConfig(source="sample")).splits


def labelled(name: str) -> pd.DataFrame:
    task = GLUE[name]
    return pd.concat([sample(name)[split] for split in ("train", *task.validation_splits)])


def texts(name: str, frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(frame[list(GLUE[name].text_columns)].itertuples(index=False, name=None))


def joined(name: str, frame: pd.DataFrame) -> list[str]:
    return [" ".join(row) for row in texts(name, frame)]


def digest(frames: Mapping[str, pd.DataFrame]) -> str:
    columns = [[split, frame.to_dict("list")] for split, frame in frames.items()]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()


@ALL_TASKS
def test_the_content_is_pinned(name: str) -> None:
    assert digest(sample(name)) == DIGESTS[name]


@ALL_TASKS
def test_every_split_has_its_size_columns_and_types(name: str) -> None:
    task = GLUE[name]
    assert tuple(sample(name)) == task.splits
    for split, frame in sample(name).items():
        assert list(frame.columns) == ["idx", *task.text_columns, "label"]
        assert frame["idx"].dtype == "int64"
        assert frame["idx"].tolist() == list(range(len(frame)))
        assert frame["label"].dtype == ("float64" if name == "stsb" else "int64")
        assert all(isinstance(text, str) for row in texts(name, frame) for text in row)
        expected = 100 if (name, split) == ("wnli", "validation") else 400
        if split == "train":
            expected = TRAIN_ROWS.get(name, 1600)
        assert len(frame) == (200 if split in task.test_splits else expected)


@ALL_TASKS
def test_labels_are_hidden_in_test_splits_and_valid_elsewhere(name: str) -> None:
    task = GLUE[name]
    for split, frame in sample(name).items():
        values = set(frame["label"])
        if split in task.test_splits:
            assert values == {-1}
        elif task.is_regression:
            assert min(values) == 0.0
            assert max(values) == 5.0
        else:
            assert values == set(range(len(task.labels)))


@ALL_TASKS
def test_no_example_occurs_twice_in_any_split(name: str) -> None:
    every = [row for frame in sample(name).values() for row in texts(name, frame)]
    assert len(set(every)) == len(every)


@ALL_TASKS
def test_texts_are_short_clean_sentences(name: str) -> None:
    for frame in sample(name).values():
        for text in (text for row in texts(name, frame) for text in row):
            assert re.fullmatch(r"[A-Z][A-Za-z]*(,? [A-Za-z]+)+[.?]", text), text
            assert 5 <= len(text.split()) <= 18, text  # 18 with two clauses


@pytest.mark.parametrize("name", SKEW)
def test_classes_are_about_as_skewed_as_in_the_real_task(name: str) -> None:
    label, low, high = SKEW[name]
    assert low <= (labelled(name)["label"] == label).mean() <= high


def test_similarity_grades_cover_the_scale_and_follow_word_overlap() -> None:
    frame = labelled("stsb")
    assert frame["label"].round().value_counts(normalize=True).min() > 0.05
    words = [[set(text.lower().split()) for text in row] for row in texts("stsb", frame)]
    overlap = [len(first & second) / len(first | second) for first, second in words]
    assert 0.3 < spearmanr(overlap, frame["label"]).statistic < 0.8


def test_mismatched_splits_of_mnli_are_from_another_domain() -> None:
    vocabulary = {
        split: {word for text in joined("mnli", frame) for word in text.strip(".").split()}
        for split, frame in sample("mnli").items()
    }
    assert "violin" in vocabulary["train"] & vocabulary["validation_matched"]
    assert "violin" not in vocabulary["validation_mismatched"] | vocabulary["test_mismatched"]
    assert "canoe" not in vocabulary["train"] | vocabulary["test_matched"]


@pytest.mark.parametrize("name", ["sst2", "mrpc"])
def test_counting_words_does_not_solve_the_task(name: str) -> None:
    train, validation = sample(name)["train"], sample(name)["validation"]
    counter = CountVectorizer()
    model = LogisticRegression(max_iter=1000)
    model.fit(counter.fit_transform(joined(name, train)), train["label"])
    assert model.score(counter.transform(joined(name, validation)), validation["label"]) < 0.9
