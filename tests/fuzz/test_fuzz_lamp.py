"""LaMP's JSON files: records or one refusal, and texts and labels are read as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import VALUES, changed, damaged, value_or_refusal
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.lamp.records import read_golds, read_records
from lamp_files import news, write_split

TASK = TASKS["lamp2n"]
QUESTIONS = [
    news(f"{n}", f"article {n}", {"an ü item": "sports", "other": "women"}, user=f"0{n}") for n in range(3)
]
GOLDS = {"task": "LaMP_2", "golds": [{"id": f"{n}", "output": "sports"} for n in range(3)]}
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


@given(
    questions=st.just(as_json(QUESTIONS))
    | damaged(as_json(QUESTIONS))
    | changed(QUESTIONS).map(as_json)
    | VALUES.map(as_json),
    golds=st.just(as_json(GOLDS))
    | damaged(as_json(GOLDS))
    | changed(GOLDS).map(as_json)
    | VALUES.map(as_json),
)
def test_lamp(folder: Path, questions: bytes, golds: bytes) -> None:
    (folder / "train_questions.json").write_bytes(questions)
    (folder / "train_outputs.json").write_bytes(golds)
    value_or_refusal(lambda: list(read_records(TASK, folder)))
    value_or_refusal(lambda: read_golds(folder / "train_outputs.json"))


@given(st.dictionaries(WORDS, WORDS, min_size=1, max_size=4), st.dictionaries(WORDS, WORDS, max_size=4))
def test_lamp_is_read_as_it_was_written(folder: Path, texts: dict[str, str], profile: dict[str, str]) -> None:
    entries = [news(name, text, profile) for name, text in texts.items()]
    write_split(folder, "train", entries, dict.fromkeys(texts, "sports"))
    records = list(read_records(TASK, folder))
    assert {record.name: record.query.texts[0] for record in records if record.query} == texts
    assert [item.texts[0] for item in records[0].profile] == list(profile)
