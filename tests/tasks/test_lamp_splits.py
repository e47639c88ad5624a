"""Users and their splits: users are recovered from texts, splits are stable and do not leak."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pandas as pd
import pytest

from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.lamp.rows import RecordLinks, recover_users, split_users
from gluelamp.tasks.lamp.tasks import LAMP, NEWS
from gluelamp.tasks.task import TaskData
from lamp_files import Question, assert_no_leak, news, rows, write_split


def load(root: Path) -> TaskData:
    return load_task_data(LAMP["lamp2n"], DataConfig(source="local", root=str(root)))


def links(records: dict[str, tuple[str | None, list[int]]]) -> RecordLinks:
    linked = RecordLinks()
    for name, (user, texts) in records.items():
        number = linked.add_record(name, user)
        for text in texts:
            linked.add_text(number, text)
    return linked


def authors(count: int, shared: list[str] | None = None, named: bool = False) -> list[tuple[Question, str]]:
    """Records of a few authors, whose queries are labelled items in the profiles of their other records."""
    questions = []
    for author in range(count):
        rng = Random(f"author {author}")
        own = {f"{author} writes {number}": rng.choice(NEWS) for number in range(5 + 7 * author)}
        own |= {text: rng.choice(NEWS) for text in shared or []}
        queries = sorted(own)[:3]
        for at, query in enumerate(queries):
            # all that the author wrote is in some profile, and each query in that of the next record
            profile = {text: own[text] for text in [*sorted(own)[3:], queries[at - 1]]}
            question = news(f"{author}-{at}", query, profile, f"author {author}" if named else None)
            questions.append((question, own[query]))
    return questions


def write_authors(folder: Path, made: list[tuple[Question, str]]) -> None:
    write_split(folder, "dev", [question for question, _ in made], {q["id"]: gold for q, gold in made})


def test_records_linked_by_texts_belong_to_one_user() -> None:
    found = recover_users(
        links(
            {"a": (None, [0, 1]), "b": (None, [4]), "c": (None, [2, 3]), "d": (None, [3, 1]), "e": (None, [])}
        )
    )
    assert list(found) == ["record-a", "record-b", "record-a", "record-a", "record-e"]


def test_records_with_a_user_id_are_not_linked_by_texts() -> None:
    records = {"a": ("7", [0, 1]), "b": ("8", [0, 1]), "c": (None, [0]), "d": ("7", [5])}
    assert list(recover_users(links(records))) == ["7", "8", "record-c", "7"]


@pytest.mark.parametrize(
    ("texts", "train", "validation", "test"),
    [
        *[(1, 1, 0, 0), (2, 2, 0, 0), (3, 1, 1, 1), (4, 2, 1, 1)],
        *[(5, 3, 1, 1), (8, 4, 2, 2), (10, 6, 2, 2), (271, 163, 54, 54)],
    ],
)
def test_each_user_is_split_by_fifths(texts: int, train: int, validation: int, test: int) -> None:
    frame = pd.DataFrame({"user": "a", "text": [f"text {number}" for number in range(texts)]})
    counts = split_users(frame).value_counts()
    assert [counts.get(split, 0) for split in ("train", "validation", "test")] == [train, validation, test]


def test_splits_do_not_depend_on_the_order_of_rows() -> None:
    frame = pd.DataFrame({"user": ["a", "b"] * 20, "text": [f"text {number}" for number in range(40)]})
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_series_equal(split_users(shuffled).sort_index(), split_users(frame))


def test_rows_with_the_same_text_stay_together() -> None:
    frame = pd.DataFrame({"user": "a", "text": [f"title {number // 3}" for number in range(30)]})
    splits = split_users(frame)
    assert (splits.groupby(frame["text"]).nunique() == 1).all()
    assert splits.value_counts().to_dict() == {"train": 18, "validation": 6, "test": 6}


def test_two_spellings_of_a_text_are_one_text(tmp_path: Path) -> None:
    label, other = NEWS[:2]
    shared = {f"shared {at}": label for at in range(4)}
    questions = [
        news("1", "The mayor\u2019s plan", shared | {"What?": label, "!": other}),
        news("2", "Mail", {"the mayor's plan.": label, "what": other, "?": label, "Shared 0": label}),
    ]
    write_split(tmp_path / "LaMP_2N", "dev", questions, {"1": label, "2": other})
    found = rows(load(tmp_path))
    assert found["user"].nunique() == 1  # the two records have texts in common
    # in its first spelling; a text with two labels is no row; texts without words are compared as they are
    assert set(found["text"]) == {"The mayor\u2019s plan", "Mail", "!", "?", *shared}
    assert len(found) == 8


def test_spellings_of_a_text_stay_in_one_split() -> None:
    texts = [f"{quote}Title{quote} {number}" for number in range(10) for quote in ("'", "\u2019", "")]
    splits = split_users(pd.DataFrame({"user": "a", "text": texts}))
    assert (splits.groupby([text.strip("'\u2019")[-1] for text in texts]).nunique() == 1).all()
    assert splits.value_counts().to_dict() == {"train": 18, "validation": 6, "test": 6}


def test_rows_keep_their_split_when_users_are_added(tmp_path: Path) -> None:
    write_authors(tmp_path / "few" / "LaMP_2N", authors(3))
    write_authors(tmp_path / "many" / "LaMP_2N", authors(6)[::-1])
    few, many = rows(load(tmp_path / "few")), rows(load(tmp_path / "many"))
    places = many.set_index("text")["split"]
    assert (few["split"].to_numpy() == places[few["text"]].to_numpy()).all()
    assert len(many) > len(few) > 20


def test_no_query_leaks_through_a_profile(tmp_path: Path) -> None:
    write_authors(tmp_path / "LaMP_2N", authors(6))
    data = load(tmp_path)
    assert_no_leak(data, recovered=True)
    assert rows(data)["user"].nunique() == 6
    assert len(rows(data)) == sum(5 + 7 * author for author in range(6))


def test_texts_of_many_named_users_are_rows_of_each(tmp_path: Path) -> None:
    shared = [f"film {number}" for number in range(10)]
    write_authors(tmp_path / "LaMP_2N", authors(4, shared, named=True))
    data = load(tmp_path)
    assert_no_leak(data, recovered=False)
    found = rows(data)
    assert set(found["user"]) == {f"author {number}" for number in range(4)}
    assert (found[found["text"].isin(shared)].groupby("text")["user"].nunique() == 4).all()
