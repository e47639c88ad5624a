"""LaMP's official files: every layout and kind of record, and the errors of broken files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.lamp.records import Record, parse_record, read_golds, stream_objects
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.task import TaskData
from gluelamp.tasks.values import bad_character
from lamp_files import Question, news, rows, write_split

PROFILE = {f"article {number}": "sports" if number % 2 else "politics" for number in range(8)}
DEV = [news("110", "a question", PROFILE), news("0112", "article 3", PROFILE)]
DEV_GOLDS = {"110": "business", "0112": "sports"}


def load(root: Path, task: str = "lamp2n", source: str = "local") -> TaskData:
    return load_task_data(LAMP[task], DataConfig(source=source, root=str(root)))


def parse(task: str, text: str, profile: list[Question], gold: str | None = None) -> Record:
    return parse_record(LAMP[task], {"id": "010", "input": text, "profile": profile}, gold, "here")


def test_the_rows_are_the_labelled_profile_items_and_the_queries_with_gold(tmp_path: Path) -> None:
    write_split(tmp_path / "LaMP_2N", "dev", DEV, DEV_GOLDS)
    data = load(tmp_path)
    labels = LAMP["lamp2n"].labels
    found = {row.text: labels[row.label] for row in rows(data).itertuples()}
    assert found == PROFILE | {"a question": "business"}
    assert len(rows(data)) == 9  # article 3 is one row, though it is a query and an item of two profiles
    assert set(rows(data)["user"]) == {"record-110"}
    train = data.splits["train"]
    assert list(train.columns) == ["idx", "user", "text", "label"]
    assert (str(train["idx"].dtype), str(train["user"].dtype)) == ("int64", "str")


@pytest.mark.parametrize(
    ("task", "folder"),
    [
        *[("lamp2n", name) for name in ("lamp/LaMP_2N", "LaMP_2/dev", "LaMP_2N_dev_rebuilt", ".")],
        *[("lamp2n_time", name) for name in ("time/LaMP_2", "lamp/time/LaMP_2N", "LaMP_2N_time")],
    ],
)
def test_every_accepted_folder_gives_the_same_rows(tmp_path: Path, task: str, folder: str) -> None:
    write_split(tmp_path / "reference" / "LaMP_2N", "dev", DEV, DEV_GOLDS)
    write_split(tmp_path / "root" / folder, "dev", DEV, DEV_GOLDS)
    expected = load(tmp_path / "reference").fingerprint
    assert load(tmp_path / "root", task).fingerprint == expected


def test_of_two_folders_the_one_with_more_golds_is_read_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gluelamp")
    write_split(tmp_path / "LaMP_2N", "dev", DEV[:1], {"110": "business"})
    write_split(tmp_path / "LaMP_2N_dev_rebuilt", "dev", DEV, DEV_GOLDS)
    assert len(rows(load(tmp_path))) == 9
    assert "LaMP_2N_dev_rebuilt has the most gold outputs" in caplog.text
    named = load(tmp_path / "LaMP_2N")
    assert f"from local ({tmp_path / 'LaMP_2N'})" in caplog.text
    assert named.splits["train"]["idx"].max() < 9


def test_test_questions_link_users_and_have_no_rows(tmp_path: Path) -> None:
    apart = [news("110", "a", {"b": "women"}), news("111", "c", {"d": "women", "e": "crime"})]
    write_split(tmp_path / "LaMP_2N", "dev", apart, {"110": "women", "111": "crime"})
    assert set(rows(load(tmp_path))["user"]) == {"record-110", "record-111"}
    write_split(tmp_path / "LaMP_2N", "test", [news("120", "unlabelled", {"b": "women", "d": "women"})])
    linked = rows(load(tmp_path))
    assert set(linked["user"]) == {"record-110"}
    assert set(linked["text"]) == set("abcde")


def test_an_article_is_one_text_whatever_its_spaces(tmp_path: Path) -> None:
    spaced = news("110", "article  0\n", PROFILE)
    write_split(tmp_path / "LaMP_2N", "dev", [spaced], {"110": "politics"})
    assert len(rows(load(tmp_path))) == len(PROFILE)


def test_a_text_with_two_labels_of_one_user_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = news("113", "other", {"article 1": "women", "article 2": "politics"})
    write_split(tmp_path / "LaMP_2N", "dev", [*DEV, other], DEV_GOLDS | {"113": "crime"})
    found = set(rows(load(tmp_path))["text"])
    assert "article 1" not in found
    assert {"article 2", "other"} <= found
    assert "left out 1 texts with more than one label" in caplog.text


def test_the_two_dev_records_without_gold_still_give_their_profiles(tmp_path: Path) -> None:
    write_split(tmp_path / "LaMP_2N", "dev", DEV, {"0112": "sports"})
    found = set(rows(load(tmp_path))["text"])
    assert found == set(PROFILE)


@pytest.mark.parametrize(
    ("task", "text", "texts"),
    [
        ("lamp2n", "Which category? categories: [women] article: The article: a", ("The article: a",)),
        ("lamp2m", "Which tag? tags: [sci-fi] description: A  film", ("A film",)),
        ("lamp3", "What is the score? review: Good, a review: yes ", ("Good, a review: yes",)),
        ("movielens_rating", "What score? movie: Fargo (1996). Snow.", ("Fargo (1996). Snow.",)),
        (
            "lamp1",
            'For an author who has written the paper with the title "On "x" [1]", which reference is '
            'related? Just answer with [1] or [2] without explanation. [1]: "A "b" c" [2]: "D"',
            ('On "x" [1]', '[1] A "b" c [2] D'),
        ),
    ],
)  # fmt: skip
def test_the_text_of_a_query_follows_its_marker(task: str, text: str, texts: tuple[str, ...]) -> None:
    for name in (task, f"{task}_time" if task != "movielens_rating" else "movielens_rating_score"):
        record = parse(name, text, [])
        assert record.query is not None
        assert record.query.texts == texts
        assert record.name == "010"


@pytest.mark.parametrize(
    ("task", "item", "texts", "label"),
    [
        ("lamp1", {"title": "T", "abstract": "long"}, ("T",), None),
        ("lamp2n", {"text": "t", "title": "T", "category": "crime"}, ("t",), "crime"),
        ("lamp2m", {"description": "d", "tag": "classic"}, ("d",), "classic"),
        ("lamp3", {"text": "t", "score": "4", "date": "2013-01-02"}, ("t",), "4"),
        ("lamp3", {"text": "t", "score": 4}, ("t",), "4"),
        ("lamp3", {"text": "t", "score": 4.0}, ("t",), "4"),
        ("lamp3", {"text": "t", "score": 4.5}, ("t",), None),
        ("lamp3_score", {"text": "t", "score": "4"}, ("t",), 4.0),
        ("lamp2n", {"text": "t", "category": "weather"}, ("t",), None),
        ("lamp3_score", {"text": "t", "score": "6"}, ("t",), None),
    ],
)
def test_profile_items_of_every_kind(
    task: str, item: Question, texts: tuple[str, ...], label: str | float | None
) -> None:
    (found,) = parse(task, "x", [item]).profile
    assert (found.texts, found.label) == (texts, label)


def test_an_input_without_the_instruction_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profile = [{"id": str(at), "description": f"film {at}", "tag": "classic"} for at in range(4)]
    good = {"id": "111", "input": "tags: [classic] description: film 9", "profile": profile}
    bad = {"id": "110", "input": "film 8", "profile": profile}
    empty = {"id": "112", "input": "tags: [classic] description: ", "profile": []}
    golds = dict.fromkeys(["110", "111", "112"], "comedy")
    write_split(tmp_path / "LaMP_2" / "new", "dev", [bad, good, empty], golds)
    found = set(rows(load(tmp_path, "lamp2m"))["text"])
    assert found == {"film 0", "film 1", "film 2", "film 3", "film 9"}
    assert "left out 2 queries without an instruction or a text" in caplog.text


def test_differences_from_the_official_files_are_deviations(tmp_path: Path) -> None:
    write_split(tmp_path / "LaMP_2N_dev_rebuilt", "dev", DEV, DEV_GOLDS)
    assert load(tmp_path).deviations == (
        "the profiles of the rebuilt LaMP-2N dev file hold only a few retrieved articles each",
        "train_questions.json is missing; the official one has 5,914",
        "dev_questions.json has 2 records; the official one has 1,052",
        "test_questions.json is missing; the official one has 1,274",
    )


def test_movielens_is_marked_as_not_lamp(tmp_path: Path) -> None:
    profile = [{"id": str(at), "text": f"film {at}", "score": "4"} for at in range(4)]
    question = {"id": "1", "user_id": "7", "input": "movie: film 9", "profile": profile}
    write_split(tmp_path / "movielens_rating", "dev", [question], {"1": "2"})
    for name in ("movielens_rating", "movielens_rating_score"):
        data = load(tmp_path, name)
        assert data.deviations == ("MovieLens ratings in LaMP-3's shape, not LaMP",)
        assert set(rows(data)["user"]) == {"7"}
        wanted = {1, 3} if data.task.labels else {2.0, 4.0}
        assert set(rows(data)["label"]) == wanted


def test_records_come_before_the_rest_of_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dev_questions.json"
    path.write_text('[{"id": "0"}, {"id": "1"}, ' + '{"id": "2"}, ' * 20_000 + "broken")
    items = stream_objects(path, "item", b"[")
    assert [next(items)["id"], next(items)["id"]] == ["0", "1"]
    with pytest.raises(InputError, match=r"dev_questions\.json is truncated or not JSON"):
        list(items)


GOOD = json.dumps(DEV)


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("dev_questions.json", "<!DOCTYPE html><html>", r"dev_questions\.json begins with '<'.*web page"),
        ("dev_questions.json", GOOD[:-20], r"dev_questions\.json is truncated"),
        ("dev_questions.json", '{"golds": []}', r"begins with '\{'; expected is JSON that begins with '\['"),
        ("dev_questions.json", "[1, 2]", r"record 1 is not a JSON object with the key 'id'"),
        ("dev_questions.json", '[{"id": "110", "profile": []}]', "'110' has no text under the key 'input'"),
        ("dev_questions.json", '[{"id": "110", "input": "x"}]', "'110' has no list of objects under the key"),
        ("dev_questions.json", json.dumps(DEV[:1] * 2), "id '110' occurs twice"),
        ("dev_questions.json", json.dumps(DEV[:1]), "has no record of id '0112'"),
        ("dev_questions.json", GOOD.replace("article:", "text:"), "has a query of task 'lamp2n'"),
        ("dev_outputs.json", '{"task": "LaMP_2", "golds": [{"id": "110"}]}', "'110' has no key 'output'"),
        ("dev_outputs.json", '{"task": "LaMP_2"}', "holds no golds"),
        ("dev_outputs.json", '{"task": "LaMP_2", "golds": [{"id": "110", "out', "is truncated"),
        ("dev_outputs.json", '{"golds": [{"id": "110", "output": "women"}]}', "has no output of id '0112'"),
        (
            "dev_outputs.json",
            '{"golds": [{"id": "110", "output": "woman"}, {"id": "0112", "output": "women"}]}',
            "'110': output 'woman' is unknown; did you mean 'women'",
        ),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str, content: str, meaning: str) -> None:
    folder = tmp_path / "LaMP_2N"
    write_split(folder, "dev", DEV, DEV_GOLDS)
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=meaning) as caught:
        load(tmp_path)
    assert str(folder) in str(caught.value)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    write_split(tmp_path / "plain" / "LaMP_2N", "train", DEV, DEV_GOLDS)
    write_split(tmp_path / "LaMP_2N", "train", DEV, DEV_GOLDS)
    for file in (tmp_path / "LaMP_2N").iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(tmp_path).fingerprint == load(tmp_path / "plain").fingerprint


@pytest.mark.parametrize(
    ("score", "gold", "label"), [("5.0", "4.0", "4"), (5, "4", "4"), (5.0, "4.00", "4"), ("5", 4.0, "4")]
)
@pytest.mark.parametrize("task", ["lamp3", "lamp3_score"])
def test_equal_ratings_are_equal_however_they_are_spelt(
    tmp_path: Path, task: str, score: object, gold: Any, label: str
) -> None:
    texts = [{"id": str(at), "text": f"item {at}", "score": score} for at in range(4)]
    question = {"id": "0", "user_id": 1, "input": "What is the score? review: good", "profile": texts}
    write_split(tmp_path / "LaMP_3", "train", [question], {"0": gold})
    data = load_task_data(LAMP[task], DataConfig(source="local", root=str(tmp_path)))
    labels = pd.concat(list(data.splits.values())).set_index("text")["label"]
    scores = labels if task == "lamp3_score" else labels + 1
    assert scores.to_dict() == {"good": 4, **{f"item {at}": 5 for at in range(4)}}


def test_one_and_one_point_zero_are_one_user(tmp_path: Path) -> None:
    questions = [
        news(str(at), f"text {at}", {}, user=user)  # type: ignore[arg-type]
        for at, user in enumerate([1, 1.0, "1", "01", 2**53, 2**53 + 1])
    ]
    records = [parse_record(LAMP["lamp2n"], question, None, "file") for question in questions]
    assert [record.user for record in records] == ["1", "1", "1", "01", str(2**53), str(2**53 + 1)]


@pytest.mark.parametrize("user", ["", " ", 1.5, [], True + 0.5, 1e300])
def test_what_identifies_no_user_is_refused(tmp_path: Path, user: Any) -> None:
    write_split(tmp_path / "LaMP_2N", "train", [news("7", "text", {}, user=user)], {"7": "women"})
    with pytest.raises(InputError, match=r"train_questions\.json: the record with id '7': 'user_id' is "):
        load(tmp_path)


def test_an_unpaired_surrogate_is_found_wherever_a_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "questions.json"
    # One byte more moves the escapes by one place in the blocks of 64 KiB that are read.
    for shift in (0, *range(65_440, 65_530)):
        good = r'{"id": "1", "a": "' + "x" * shift + r'\\\\ud83d \ud83d\ude00\ud83d\ude00 \\ud83d"}'
        path.write_text(f"[{good}]")
        (record,) = stream_objects(path, "item", b"[")
        assert record == json.loads(good)
        path.write_text("[" + good.replace(r"\ude00\ud83d", r"\ud83d") + "]")
        (record,) = stream_objects(path, "item", b"[")
        assert bad_character(record["a"])


@pytest.mark.parametrize("text", ["a\0b", "a\ud83d", "\udc00"])
@pytest.mark.parametrize("place", ["query", "profile"])
def test_a_text_that_would_be_repaired_is_refused(tmp_path: Path, text: str, place: str) -> None:
    question = news("7", text if place == "query" else "a", {text if place == "profile" else "b": "women"})
    write_split(tmp_path / "LaMP_2N", "train", [question], {"7": "women"})
    with pytest.raises(InputError, match=r"train_questions\.json(: the record with id '7' has a text| is )"):
        load(tmp_path)


def test_questions_without_their_outputs_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "LaMP_2N", "train", DEV)
    with pytest.raises(InputError, match=r"train_questions\.json has no train_outputs\.json in its folder"):
        load(tmp_path)


def test_users_with_too_few_texts_cannot_be_split(tmp_path: Path) -> None:
    write_split(tmp_path / "LaMP_2N", "dev", [news("112", "a", {"b": "women"})], {"112": "women"})
    with pytest.raises(InputError, match="three or more labelled texts"):
        load(tmp_path)


def test_a_missing_folder_is_reported_with_the_expected_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no rows of task 'lamp2m'.*LaMP_2M or LaMP_2/new"):
        load(tmp_path, "lamp2m")


def test_ids_keep_their_zeros(tmp_path: Path) -> None:
    path = tmp_path / "train_outputs.json"
    path.write_text('{"task": "LaMP_1", "golds": [{"id": "0018", "output": " [2] "}]}')
    assert read_golds(path) == {"0018": "[2]"}
