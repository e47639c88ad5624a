"""SuperGLUE's rows: the official files and the hub's columns give the same, and broken ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data, prepare
from gluelamp.tasks.sample.superglue import official_records
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.tables import Reading, Table, numbered
from gluelamp.tasks.task import TaskData

Rows = list[dict[str, Any]]

_RTE = [{"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment", "idx": 0}]
# One row per task in the official format, in the hub's columns, and as the suite encodes it
OFFICIAL: dict[str, Rows] = {
    "BoolQ": [{"question": "is it", "passage": "It is.", "label": True, "idx": 0}],
    "CB": [{"premise": "He knew.", "hypothesis": "It is.", "label": "neutral", "idx": 0}],
    "COPA": [
        {"premise": "It broke.", "choice1": "It fell.", "choice2": "It sang.", "question": "cause"}
        | {"label": 0, "idx": 7}
    ],
    "MultiRC": [
        {"idx": 3, "version": 1.1, "passage": {"text": "Ann ate figs.", "questions": [
            {"idx": 9, "question": "Who ate?", "answers": [
                {"idx": 20, "text": "Ann", "label": 1}, {"idx": 21, "text": "Bob", "label": 0}]}]}}
    ],
    "RTE": _RTE,
    "WiC": [
        {"word": "bank", "sentence1": "The bank.", "sentence2": "Two banks here.", "label": False, "idx": 0}
        | {"start1": 4, "end1": 8, "start2": 4, "end2": 9, "version": 1.1}
    ],
    "WSC": [
        {"text": "Mark Lee told Pete that he, too, was late.", "label": True, "idx": 0}
        | {"target": {"span1_text": "Mark Lee", "span1_index": 0, "span2_text": "he", "span2_index": 5}}
    ],
}  # fmt: skip
HUB: dict[str, Rows] = {
    "BoolQ": [{"question": "is it", "passage": "It is.", "idx": 0, "label": 1}],
    "CB": [{"premise": "He knew.", "hypothesis": "It is.", "idx": 0, "label": 2}],
    "COPA": OFFICIAL["COPA"],
    "MultiRC": [
        {"paragraph": "Ann ate figs.", "question": "Who ate?", "answer": text, "label": label}
        | {"idx": {"paragraph": 3, "question": 9, "answer": answer}}
        for text, label, answer in (("Ann", 1, 20), ("Bob", 0, 21))
    ],
    "RTE": [_RTE[0] | {"label": 0}],
    "WiC": [{key: v for key, v in OFFICIAL["WiC"][0].items() if key != "version"} | {"label": 0}],
    "WSC": [
        {"text": OFFICIAL["WSC"][0]["text"], "idx": 0, "label": 1, "span1_index": 0, "span2_index": 5}
        | {"span1_text": "Mark Lee", "span2_text": "he"}
    ],
}
ENCODED: dict[str, list[tuple]] = {
    "boolq": [(0, "is it", "It is.", 1)],
    "cb": [(0, "He knew.", "It is.", 2)],
    "copa": [
        (14, "7", "It broke. What was the cause of this?", "It fell.", 1),
        (15, "7", "It broke. What was the cause of this?", "It sang.", 0),
    ],
    "multirc": [
        (20, "3-9", "Ann ate figs.", "Who ate? Ann", 1),
        (21, "3-9", "Ann ate figs.", "Who ate? Bob", 0),
    ],
    "super_rte": [(0, "It rains.", "It is wet.", 0)],
    "wic": [(0, "The *bank*.", "Two *banks* here.", 0)],
    "wsc": [(0, "*Mark Lee* told Pete that #he#, too, was late.", 1)],
}
FOLDERS = dict(zip(ENCODED, OFFICIAL, strict=True))
BOTH = ("boolq", "cb", "copa", "multirc", "super_rte", "wic", "wsc")


def without_label(value: Any) -> Any:
    """Return a record without its labels, as in the official test files."""
    if isinstance(value, dict):
        return {key: without_label(part) for key, part in value.items() if key != "label"}
    return [without_label(part) for part in value] if isinstance(value, list) else value


def write(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_official(root: Path, task: str) -> None:
    rows = OFFICIAL[FOLDERS[task]]
    for name in ("train", "val"):
        write(root / FOLDERS[task] / f"{name}.jsonl", rows)
    write(root / FOLDERS[task] / "test.jsonl", without_label(rows))


def local(task: str, root: Path) -> TaskData:
    return load_task_data(SUPERGLUE[task], DataConfig(source="local", root=str(root)))


def rows_of(data: TaskData, split: str) -> list[tuple]:
    return list(data.splits[split].itertuples(index=False, name=None))


@pytest.mark.parametrize("task", BOTH)
@pytest.mark.parametrize("folder", [".", "superglue"])
def test_official_files_become_rows_of_texts(tmp_path: Path, task: str, folder: str) -> None:
    write_official(tmp_path / folder, task)
    data = local(task, tmp_path)
    assert rows_of(data, "train") == rows_of(data, "validation") == ENCODED[task]
    assert rows_of(data, "test") == [(*row[:-1], -1) for row in ENCODED[task]]


@pytest.mark.parametrize("task", BOTH)
def test_the_hub_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    asked = []

    def hub(repository: str, name: str, *_: object) -> Reading:
        asked.append((repository, name))
        labelled = pd.DataFrame(HUB[FOLDERS[task]])
        hidden = labelled.assign(label=-1)
        tables = {
            split: Table(numbered(rows.copy()), split)
            for split, rows in (("train", labelled), ("validation", labelled), ("test", hidden))
        }
        return Reading(tables, "hub", "the hub", "abc")

    monkeypatch.setattr("gluelamp.tasks.superglue_source.read_hub", hub)
    data = load_task_data(SUPERGLUE[task], DataConfig(source="hub"))
    assert asked == [("aps/super_glue", task.removeprefix("super_"))]
    assert rows_of(data, "train") == ENCODED[task]
    assert rows_of(data, "test") == [(*row[:-1], -1) for row in ENCODED[task]]


def diagnostics(root: Path) -> None:
    axb = {"idx": "0", "label": "not_entailment", "sentence1": "A.", "sentence2": "B.", "logic": "Negation"}
    axg = [
        {"idx": number, "label": "entailment", "premise": f"{who} ate.", "hypothesis": "One ate."}
        | {"pair_id": 551646 + 2 * number}
        for number, who in enumerate(("He", "She"))
    ]
    write(root / "AX-b" / "AX-b.jsonl", [axb])
    write(root / "AX-g" / "AX-g.jsonl", axg)


def test_diagnostics_are_trained_on_rte(tmp_path: Path) -> None:
    diagnostics(tmp_path)
    write_official(tmp_path, "super_rte")
    axb, axg = local("axb", tmp_path), local("axg", tmp_path)
    assert (rows_of(axb, "train"), rows_of(axb, "validation")) == (ENCODED["super_rte"], [(0, "A.", "B.", 1)])
    assert rows_of(axg, "train") == [(0, "0", "It rains.", "It is wet.", 0)]
    assert rows_of(axg, "validation") == [
        (0, "0", "He ate.", "One ate.", 0),
        (1, "0", "She ate.", "One ate.", 0),
    ]
    assert set(axb.splits) == {"train", "validation"}


def test_rte_may_be_the_copy_of_glue(tmp_path: Path) -> None:
    diagnostics(tmp_path / "superglue")
    rte = [{"idx": 0, "sentence1": "It rains.", "sentence2": "It is wet.", "label": 0}]
    for split in ("train", "validation"):
        write(tmp_path / "glue" / "rte" / f"{split}.jsonl", rte)
    assert rows_of(local("super_rte", tmp_path), "train") == ENCODED["super_rte"]
    assert any("order" in sentence for sentence in local("super_rte", tmp_path).deviations)
    assert rows_of(local("axb", tmp_path), "train") == ENCODED["super_rte"]


def test_diagnostics_without_rte_are_refused(tmp_path: Path) -> None:
    diagnostics(tmp_path)
    with pytest.raises(InputError, match="has no train split of task 'axb'"):
        local("axb", tmp_path)


@pytest.mark.parametrize("task", [*BOTH, "axg"])
def test_a_prepared_copy_has_the_same_rows(tmp_path: Path, task: str) -> None:
    for name in BOTH:
        write_official(tmp_path / "official", name)
    diagnostics(tmp_path / "official")
    config = DataConfig(source="local", root=str(tmp_path / "official"))
    prepare([SUPERGLUE[task]], config, tmp_path / "copy")
    assert local(task, tmp_path / "copy").fingerprint == local(task, tmp_path / "official").fingerprint


def wsc(text: str, noun: str, noun_at: int, pronoun: str, pronoun_at: int) -> Rows:
    target = {"span1_text": noun, "span1_index": noun_at, "span2_text": pronoun, "span2_index": pronoun_at}
    return [{"text": text, "target": target, "label": True, "idx": 0}]


@pytest.mark.parametrize(
    ("row", "marked"),
    [
        # an official position that is wrong by some words
        (wsc("A cat saw it , and it ran.", "A cat", 0, "it", 7), "*A cat* saw it , and #it# ran."),
        (wsc("The dog ate. Then IT slept.", "the dog.", 0, "it", 4), "*The dog* ate. Then #IT# slept."),
        # a span whose words are not in the text is marked at its position
        (wsc("Lev Kamenev left. He sang.", "Lev and Leo", 0, "He", 3), "*Lev Kamenev left*. #He# sang."),
        (wsc("It was it.", "it", 9, "It", 0), "#It# was *it*."),
    ],
)
def test_spans_are_marked_at_their_words(tmp_path: Path, row: Rows, marked: str) -> None:
    for split in ("train", "val"):
        write(tmp_path / "WSC" / f"{split}.jsonl", row)
    assert local("wsc", tmp_path).splits["train"]["text"].tolist() == [marked]


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        (
            "copa",
            {"question": "reason"},
            r"train.jsonl, line 1: question 'reason' is not 'cause' or 'effect'",
        ),
        ("copa", {"label": 2}, r"line 1: label 2 is not a class id from 0 to 1"),
        ("copa", {"choice1": None}, r"line 1: 'choice1' is None, which is not text"),
        ("copa", {"idx": "seven"}, r"line 1: idx 'seven' is not a whole number"),
        ("multirc", {"passage": {"text": "No questions."}}, "line 1 is no passage of MultiRC"),
        ("multirc", {"passage": {"text": "None.", "questions": []}}, "train.jsonl has no answers"),
        ("wic", {"end1": 40}, r"line 1: start1=4 and end1=40 is no span of the sentence1 'The bank.'"),
        ("wic", {"start2": "two"}, "line 1: start2=two and end2=9 is no span of the sentence2"),
        ("wic", {"sentence2": None}, "line 1: 'sentence2' is None, which is not text"),
        ("wsc", {"target": None}, "line 1: 'target' is None; expected are the spans"),
        (
            "wsc",
            {"target": wsc("", "Ann", 0, "he", 5)[0]["target"]},
            "line 1: span1_index=0 and span1_text=Ann is no span of the text 'Mark Lee",
        ),
        ("wsc", {"target": {"span1_text": "Mark"}}, "has no column 'span1_index'"),
        ("boolq", {"label": "maybe"}, "label 'maybe' is unknown"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, task: str, change: dict, message: str) -> None:
    write_official(tmp_path, task)
    write(tmp_path / FOLDERS[task] / "train.jsonl", [OFFICIAL[FOLDERS[task]][0] | change])
    with pytest.raises(InputError, match=message):
        local(task, tmp_path)


def test_a_row_of_axg_without_its_partner_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "RTE" / "train.jsonl", _RTE)
    write(tmp_path / "AX-g" / "AX-g.jsonl", [_RTE[0] | {"idx": idx} for idx in (0, 1, 2)])
    with pytest.raises(InputError, match="line 3: idx 2 has no partner; the rows 2k and 2k"):
        local("axg", tmp_path)


def test_an_empty_folder_names_the_expected_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected are WiC/train.jsonl"):
        local("wic", tmp_path)
    with pytest.raises(InputError, match=r"Expected are AX-g/AX-g.jsonl, and RTE/train.jsonl"):
        local("axg", tmp_path)


def test_declarations_have_the_rows_of_the_card_and_groups_where_rows_depend() -> None:
    grouped = {name for name, task in SUPERGLUE.items() if task.group_column}
    assert grouped == {"copa", "multirc", "axg"}
    assert {name for name, task in SUPERGLUE.items() if task.one_true_per_group} == {"copa"}
    # https://huggingface.co/datasets/aps/super_glue; COPA's 400, 100 and 500 questions have two choices each,
    # and the diagnostics have RTE's training rows
    assert {name: tuple(task.rows.values()) for name, task in SUPERGLUE.items()} == {
        "boolq": (9427, 3270, 3245),
        "cb": (250, 56, 250),
        "copa": (2 * 400, 2 * 100, 2 * 500),
        "multirc": (27243, 4848, 9693),
        "super_rte": (2490, 277, 3000),
        "wic": (5428, 638, 1400),
        "wsc": (554, 104, 146),
        "axb": (2490, 1104),
        "axg": (2490, 356),
    }


@pytest.mark.parametrize("name", SUPERGLUE)
@pytest.mark.parametrize("hidden", [None, -1])
def test_the_hub_s_own_files_are_read_and_their_hidden_labels_may_be_null(
    tmp_path: Path, name: str, hidden: int | None
) -> None:
    task = SUPERGLUE[name]
    for each in {name, "super_rte"}:  # RTE holds the training rows of the diagnostics
        folder = tmp_path / "superglue" / each.replace("super_rte", "rte")
        folder.mkdir(parents=True)
        for split, records in official_records(SUPERGLUE[each]).items():
            shown = pd.DataFrame(records)
            if split == "test" and "label" in shown:
                shown = shown.astype({"label": "object"}).assign(label=hidden)
            on_hub = "test" if each in ("axb", "axg") else split
            shown.to_parquet(folder / f"{on_hub}-00000-of-00001.parquet")
    splits = load_task_data(task, DataConfig(source="local", root=str(tmp_path))).splits
    assert splits.keys() == {"train", *official_records(task)}
    assert "test" not in splits or set(splits["test"]["label"]) == {-1}
