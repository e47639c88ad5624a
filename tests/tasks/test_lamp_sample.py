"""The bundled LaMP-shaped sample: its content, its shape, and the preferences of its users."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.task import TaskData
from lamp_files import assert_no_leak, rows

# The other variants are compared with these.
BASE_TASKS = pytest.mark.parametrize("name", ["lamp1", "lamp2n", "lamp2m", "lamp3", "movielens_rating"])
# As for GLUE's sample: with a new fingerprint, old records are not comparable with new ones.
FINGERPRINTS = {
    "lamp1": "09fa4f9aeb4fc686",
    "lamp2n": "090c5f755a70de16",
    "lamp2m": "93fad6e6f848eccd",
    "lamp3": "95d892b97f821221",
    "lamp3_score": "9f141cac447765f9",
    "movielens_rating": "d20d01371123d3e1",
    "movielens_rating_score": "2d131ab7b767aa5f",
}


@cache
def sample(name: str) -> TaskData:
    return load_task_data(LAMP[name], DataConfig(source="sample"))


@pytest.mark.parametrize("name", [name for name in LAMP if not name.endswith("_time")])
def test_the_content_is_pinned(name: str) -> None:
    assert sample(name).fingerprint[:16] == FINGERPRINTS[name]


@BASE_TASKS
def test_the_sample_does_not_leak(name: str) -> None:
    assert_no_leak(sample(name), recovered=name != "movielens_rating")


@BASE_TASKS
def test_there_are_24_users_with_30_to_60_labelled_texts(name: str) -> None:
    sizes = rows(sample(name))["user"].value_counts()
    assert len(sizes) == 24
    assert sizes.between(30, 60).all()
    assert list(sample(name).splits) == ["train", "validation", "test"]


@BASE_TASKS
def test_texts_have_the_length_of_real_ones(name: str) -> None:
    frame = rows(sample(name))
    words = frame[list(LAMP[name].text_columns)].agg(" ".join, axis=1).str.split().str.len()
    assert 18 <= words.mean() <= 40


@pytest.mark.parametrize("name", ["lamp1", "lamp2n"])
def test_the_time_based_sample_has_the_same_rows_of_named_users(name: str) -> None:
    user_based, time_based = rows(sample(name)), rows(sample(f"{name}_time"))
    columns = [*LAMP[name].text_columns, "label", "split"]
    pd.testing.assert_frame_equal(time_based[columns], user_based[columns])
    assert set(time_based["user"]) == {str(number) for number in range(1, 25)}


@pytest.mark.parametrize("name", ["lamp3", "movielens_rating"])
def test_scores_are_the_ratings_of_the_classes(name: str) -> None:
    classes, scores = rows(sample(name)), rows(sample(f"{name}_score"))
    assert (scores["label"] == classes["label"] + 1).all()
    assert set(classes["label"]) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", ["lamp2n", "movielens_rating"])
def test_a_model_per_user_is_better_than_a_shared_one(name: str) -> None:
    data = sample(name)
    train, held_out = data.splits["train"], pd.concat([data.splits["validation"], data.splits["test"]])
    words = CountVectorizer(binary=True).fit(train["text"])
    users = {user: number for number, user in enumerate(sorted(set(train["user"])))}

    def per_user(frame: pd.DataFrame) -> csr_array:
        shared = csr_array(words.transform(frame["text"]))
        owner = frame["user"].map(users).to_numpy()
        own = [shared.multiply((owner == number)[:, None]) for number in users.values()]
        return csr_array(hstack([shared, *own]))

    def accuracy(personal: bool) -> float:
        seen, unseen = (
            per_user(frame) if personal else words.transform(frame["text"]) for frame in (train, held_out)
        )
        model = LogisticRegression(max_iter=1000).fit(seen, train["label"])
        return float(np.mean(model.predict(unseen) == held_out["label"]))

    assert accuracy(personal=True) > accuracy(personal=False) + 0.05
