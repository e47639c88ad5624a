"""Tasks on a user's own rows: their declaration and rows, or one refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from fuzz.damage import VALUES, changed, damaged, value_or_refusal
from gluelamp.tasks import custom
from gluelamp.tasks.config import CustomTaskConfig, DataConfig
from gluelamp.tasks.custom import read_custom

ROWS = [{"text": f"text {n}", "second": "ü", "label": ["yes", "no"][n % 2], "user": n % 3} for n in range(12)]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
LABELS = st.text(st.characters(categories=["L"]), min_size=1, max_size=4)


def lines(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def read(path: Path, **options: Any) -> Any:
    custom._read.cache_clear()  # by the time of the last change, which is coarser than a case
    config = CustomTaskConfig(name="own", train=str(path), **options)
    return read_custom(config, DataConfig())


@given(
    content=damaged(lines(ROWS)) | changed(ROWS).map(lines) | st.lists(VALUES, max_size=4).map(lines),
    options=st.sampled_from([{}, {"text": ("text", "second")}, {"user": "user"}, {"kind": "regression"}]),
)
def test_custom(folder: Path, content: bytes, options: dict[str, Any]) -> None:
    path = folder / "own.jsonl"
    path.write_bytes(content)
    value_or_refusal(lambda: read(path, **options))


@given(st.lists(st.tuples(TEXTS, LABELS), min_size=20, max_size=24))
def test_custom_is_read_as_it_was_written(folder: Path, rows: list[tuple[str, str]]) -> None:
    path = folder / "written.jsonl"
    path.write_bytes(lines([{"text": text, "label": label} for text, label in rows]))
    assume(len({label for _, label in rows}) > 1)
    data = read(path, validation=str(path), kind="classification")
    split = data.splits["train"]
    assert split["text"].tolist() == [text for text, _ in rows]
    assert [data.task.labels[label] for label in split["label"]] == [label for _, label in rows]
