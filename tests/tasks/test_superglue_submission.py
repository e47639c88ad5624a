"""The files for the SuperGLUE server, read back by a reader that follows the description of their format."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.submission import submit, write_submission
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.superglue_submission import SUPERGLUE_SERVER
from gluelamp.tasks.task import Task

# The names of the files, and the values of their labels by class id.
_FORMAT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "boolq": ("BoolQ.jsonl", ("false", "true")),
    "cb": ("CB.jsonl", ("entailment", "contradiction", "neutral")),
    "copa": ("COPA.jsonl", (0, 1)),
    "multirc": ("MultiRC.jsonl", (0, 1)),
    "super_rte": ("RTE.jsonl", ("entailment", "not_entailment")),
    "wic": ("WiC.jsonl", ("false", "true")),
    "wsc": ("WSC.jsonl", ("False", "True")),
    "axb": ("AX-b.jsonl", ("entailment", "not_entailment")),
    "axg": ("AX-g.jsonl", ("entailment", "not_entailment")),
}


def _read(path: Path, labels: tuple[Any, ...]) -> dict[tuple[int, ...], int]:
    """Return the class id of each answer of MultiRC, of each question of COPA, or of each example."""
    classes: dict[tuple[int, ...], int] = {}

    def add(place: tuple[int, ...], holder: dict[str, Any]) -> None:
        assert type(holder["label"]) is type(labels[0])
        assert place not in classes
        classes[place] = labels.index(holder["label"])

    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    for line in map(json.loads, text.splitlines()):
        if "passage" not in line:
            assert set(line) == {"idx", "label"}
            add((line["idx"],), line)
            continue
        assert set(line) == {"idx", "passage"}
        assert set(line["passage"]) == {"questions"}
        for question in line["passage"]["questions"]:
            assert set(question) == {"idx", "answers"}
            for answer in question["answers"]:
                assert set(answer) == {"idx", "label"}
                add((line["idx"], question["idx"], answer["idx"]), answer)
    assert list(classes) == sorted(classes)
    return classes


def _of_rows(task: Task, rows: int) -> Task:
    return replace(task, rows=dict(task.rows) | dict.fromkeys(task.submission, rows))


def _frame(predictions: Sequence[int], groups: Sequence[str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"idx": range(len(predictions)), "prediction": predictions})
    return frame if groups is None else frame.assign(group=list(groups))


def _write(name: str, frame: pd.DataFrame, folder: Path) -> tuple[str, ...]:
    task = _of_rows(SUPERGLUE[name], len(frame))
    return write_submission(SUPERGLUE_SERVER, task, dict.fromkeys(task.submission, frame), folder)


@pytest.mark.parametrize("name", sorted(set(_FORMAT) - {"copa", "multirc"}))
def test_each_line_is_an_example_with_the_server_s_name_of_its_class(name: str, tmp_path: Path) -> None:
    file, labels = _FORMAT[name]
    predictions = [number % len(labels) for number in range(7)]
    groups = ["0"] * 7 if name == "axg" else None
    frame = _frame(predictions, groups).sample(frac=1, random_state=0)  # rows in any order
    assert _write(name, frame, tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert _read(tmp_path / file, labels) == {(idx,): label for idx, label in enumerate(predictions)}


def test_a_question_of_copa_has_the_number_of_its_right_choice(tmp_path: Path) -> None:
    frame = _frame([1, 0, 0, 1, 0, 1], ["0", "0", "1", "1", "2", "2"]).sample(frac=1, random_state=0)
    assert _write("copa", frame, tmp_path) == ()
    assert _read(tmp_path / "COPA.jsonl", (0, 1)) == {(0,): 0, (1,): 1, (2,): 1}


def test_the_answers_of_multirc_are_nested_in_questions_and_paragraphs(tmp_path: Path) -> None:
    groups = ["0-0", "0-0", "0-1", "1-2", "1-2", "1-2", "10-3"]
    assert _write("multirc", _frame([1, 0, 1, 0, 0, 1, 1], groups), tmp_path) == ()
    expected = {
        (0, 0, 0): 1, (0, 0, 1): 0, (0, 1, 2): 1,
        (1, 2, 3): 0, (1, 2, 4): 0, (1, 2, 5): 1,
        (10, 3, 6): 1,
    }  # fmt: skip
    assert _read(tmp_path / "MultiRC.jsonl", (0, 1)) == expected


@pytest.mark.parametrize("name", SUPERGLUE)
def test_the_sample_is_written_with_its_own_numbers_of_examples(name: str, tmp_path: Path) -> None:
    """Read the numbers from the rows: those of paragraphs, questions and answers, or of examples."""
    task = SUPERGLUE[name]
    (split,) = task.submission
    rows = load_task_data(task, DataConfig(source="sample")).splits[split]
    rows = rows.assign(prediction=[int(idx) % 2 for idx in rows["idx"]])
    write_submission(SUPERGLUE_SERVER, task, {split: rows}, tmp_path)
    file, labels = _FORMAT[name]
    expected = {(int(idx),): int(idx) % 2 for idx in rows["idx"]}
    if name == "copa":  # the second choice of each question has an odd number
        expected = {(number,): 1 for number in range(len(rows) // 2)}
    if name == "multirc":
        places = (group.split("-") for group in rows["group"])
        expected = {
            (int(paragraph), int(question), int(idx)): int(idx) % 2
            for (paragraph, question), idx in zip(places, rows["idx"], strict=True)
        }
    assert _read(tmp_path / file, labels) == expected


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        ("copa", _frame([0, 1]), r"lack the column\(s\) group"),
        ("copa", _frame([0, 1, 1], ["0", "0", "1"]), r"question 1 of 'copa' are \[1\].*both choices"),
        ("copa", _frame([0, 0], ["0", "0"]), r"question 0 of 'copa' are \[0, 0\]"),
        ("cb", _frame([0, 3]), "1 values that are not a class id; allowed: 0 to 2"),
    ],
)
def test_predictions_that_cannot_be_submitted_are_refused(
    name: str, frame: pd.DataFrame, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        _write(name, frame, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_zip_is_the_same_for_equal_predictions_and_names_the_file_of_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archives = []
    for folder in ("first", "second"):
        for name, task in SUPERGLUE.items():
            groups = {"copa": ["0", "0"], "multirc": ["0-0", "0-1"], "axg": ["0", "0"]}.get(name)
            frames = dict.fromkeys(task.submission, _frame([0, 1], groups))
            path = submit(SUPERGLUE_SERVER, _of_rows(task, 2), frames, tmp_path / folder)
        archives.append(path.read_bytes())
    assert archives[0] == archives[1]
    with ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(file for file, _ in _FORMAT.values())
    assert caplog.records[-1].levelno == logging.WARNING
    assert caplog.messages[-1] == (
        "second.zip lacks 1 of the 10 files that the SuperGLUE server needs: ReCoRD.jsonl."
    )
