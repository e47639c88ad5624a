"""The files for the SuperGLUE server (super.gluebenchmark.com): a JSONL file per test set.

Each line is ``{"idx": 0, "label": "entailment"}``. The labels are class names, ``"false"`` and ``"true"`` in
BoolQ and WiC, ``"False"`` and ``"True"`` in WSC, and 0 or 1 in COPA, the number of the right choice. MultiRC
has a line per paragraph, with the questions and answers nested as in its data.

Sources: the FAQ of the server and a line of its sample submission, quoted in jiant-dev/jiant-dev#108; the
writers of SuperGLUE's authors, jiant/evaluate.py in nyu-mll/jiant-v1-legacy; and the script that prepares
T5's files for the leaderboard (google-research/text-to-text-transfer-transformer). They agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.submission import TestServer
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.task import Task

_Line = dict[str, Any]

# The other tasks have the class names of their declaration.
_LABELS = {"boolq": ("false", "true"), "wic": ("false", "true")}


def _jsonl(task: Task, rows: pd.DataFrame) -> str:
    lines = _GROUPED.get(task.name, _examples)(task, rows)
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def _examples(task: Task, rows: pd.DataFrame) -> Iterator[_Line]:
    labels = _LABELS.get(task.name, task.labels)
    for idx, label in zip(rows["idx"].tolist(), rows["prediction"], strict=True):
        yield {"idx": idx, "label": labels[label]}


def _questions_of_copa(task: Task, rows: pd.DataFrame) -> Iterator[_Line]:
    # Rows are in the order of idx, so the choices of a question are in their order.
    for group, choices in rows.groupby("group", sort=False)["prediction"]:
        if sorted(choices) != [0, 1]:
            raise InputError(
                f"The predictions for question {group} of {task.name!r} are {choices.tolist()}; expected "
                "is 1 for one of two choices. Predict both choices of each question."
            )
        yield {"idx": int(group), "label": choices.tolist().index(1)}


def _paragraphs_of_multirc(task: Task, rows: pd.DataFrame) -> Iterator[_Line]:
    # A group is a question: the numbers of its paragraph and its own, "12-130".
    paragraphs: dict[int, list[_Line]] = {}
    for group, answers in rows.groupby("group", sort=False):
        paragraph, question = map(int, str(group).split("-"))
        labels = zip(answers["idx"].tolist(), answers["prediction"].tolist(), strict=True)
        labelled = [{"idx": idx, "label": label} for idx, label in labels]
        paragraphs.setdefault(paragraph, []).append({"idx": question, "answers": labelled})
    for paragraph, questions in sorted(paragraphs.items()):
        yield {"idx": paragraph, "passage": {"questions": questions}}


_GROUPED: dict[str, Callable[[Task, pd.DataFrame], Iterator[_Line]]] = {
    "copa": _questions_of_copa,
    "multirc": _paragraphs_of_multirc,
}

SUPERGLUE_SERVER = TestServer(
    name="SuperGLUE",
    suffix=".jsonl",
    # The suite has no ReCoRD task. The server needs its file, so each zip is reported as incomplete.
    files=(
        *(f"{stem}.jsonl" for task in SUPERGLUE.values() for stem in task.submission.values()),
        "ReCoRD.jsonl",
    ),
    text=_jsonl,
)
"""The server needs ten files; the suite writes nine."""
