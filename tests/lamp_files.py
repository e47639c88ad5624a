"""Hand-made LaMP files, and the properties of every copy of LaMP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.tasks.task import TaskData

NEWS = "Which category does this article relate to? categories: [women, sports] article: {}"

Question = dict[str, Any]


def news(name: str, text: str, profile: Mapping[str, str], user: str | None = None) -> Question:
    """A LaMP-2N record; the profile is given as categories by text."""
    items = [
        {"id": f"{name}{at}", "text": item, "title": "of the article", "category": category}
        for at, (item, category) in enumerate(profile.items())
    ]
    identity = {"id": name} if user is None else {"id": name, "user_id": user}
    return identity | {"input": NEWS.format(text), "profile": items}


def write_split(
    folder: Path, split: str, questions: Iterable[Question], golds: Mapping[str, str] | None = None
) -> None:
    """Write the questions of one split and, if there are golds, its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}_questions.json").write_text(json.dumps(list(questions)))
    if golds is not None:
        entries = [{"id": name, "output": output} for name, output in golds.items()]
        (folder / f"{split}_outputs.json").write_text(json.dumps({"task": "LaMP_2", "golds": entries}))


def rows(data: TaskData) -> pd.DataFrame:
    """All rows of a task, with the split that each is in."""
    return pd.concat(frame.assign(split=split) for split, frame in data.splits.items())


def assert_no_leak(data: TaskData, recovered: bool) -> None:
    """No text is in two splits of a user; recovered users do not share a text at all."""
    frame = rows(data)
    texts = list(data.task.text_columns)
    assert not frame.duplicated(["user", *texts]).any()
    assert (frame.groupby(["user", "text"])["split"].nunique() == 1).all()
    if recovered:
        assert (frame.groupby("text")["user"].nunique() == 1).all()
    assert frame["idx"].is_unique
    assert set(frame["user"]) == set(data.splits["train"]["user"])
