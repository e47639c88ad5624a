"""TSV, CSV, JSON lines and Parquet: a table or one refusal, and what was written is what is read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import VALUES, changed, damaged, value_or_refusal
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.files import read_csv, read_jsonl, read_parquet, read_tsv
from gluelamp.tasks.tables import normalise

COLA = TASKS["cola"]
ROWS = [
    {"idx": n, "sentence": text, "label": n % 2}
    for n, text in enumerate(["a b", 'a "quoted" one', "ü, 日本"])
]
COLUMNS = {"sentence": "sentence", "label": "label"}
# A carriage return ends a line of a TSV file, and a NUL is refused everywhere.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\t\0"), max_size=12)
WHOLE = st.integers(-(2**63), 2**63 - 1)
TYPED_ROWS = st.lists(st.fixed_dictionaries({"text": TEXTS, "number": WHOLE}), min_size=1, max_size=6)


def delimited(rows: list[dict[str, Any]], separator: str) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def lines(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    pd.DataFrame(rows).to_parquet(stream)
    return stream.getvalue()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@given(damaged(delimited(ROWS, "\t"), lines(ROWS)) | st.binary(max_size=200))
def test_tsv(folder: Path, content: bytes) -> None:
    path = written(folder / "a.tsv", content)
    value_or_refusal(lambda: normalise(read_tsv(path, COLUMNS), COLA, "train"))
    value_or_refusal(lambda: read_tsv(path, COLUMNS, header=["a", "label", "sentence"], skip_short_rows=True))


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
def test_tsv_is_read_as_it_was_written(folder: Path, rows: list[tuple[str, str]]) -> None:
    text = "".join("\t".join(row) + "\n" for row in [("sentence", "label"), *rows])
    table = read_tsv(written(folder / "b.tsv", text.encode()), COLUMNS)
    assert table.rows[["sentence", "label"]].to_numpy().tolist() == list(map(list, rows))


@given(damaged(delimited(ROWS, ","), delimited(ROWS, "\t")) | st.binary(max_size=200))
def test_csv(folder: Path, content: bytes) -> None:
    path = written(folder / "a.csv", content)
    value_or_refusal(lambda: normalise(read_csv(path), COLA, "train"))
    value_or_refusal(lambda: read_csv(path, "\t"))


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_csv_is_read_as_it_was_written(folder: Path, rows: list[tuple[str, str]]) -> None:
    with (folder / "b.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("sentence", "label"), *rows])
    table = read_csv(folder / "b.csv")
    assert table.rows.to_numpy().tolist() == list(map(list, rows))


@given(damaged(lines(ROWS)) | changed(ROWS).map(lines) | st.lists(VALUES, max_size=4).map(lines))
def test_jsonl(folder: Path, content: bytes) -> None:
    path = written(folder / "a.jsonl", content)
    value_or_refusal(lambda: normalise(read_jsonl(path), COLA, "train"))


@given(TYPED_ROWS)
def test_jsonl_is_read_as_it_was_written(folder: Path, rows: list[dict[str, Any]]) -> None:
    table = read_jsonl(written(folder / "b.jsonl", lines(rows)))
    assert table.rows.to_dict("records") == rows


@given(damaged(parquet(ROWS)))
def test_parquet(folder: Path, content: bytes) -> None:
    path = written(folder / "a.parquet", content)
    value_or_refusal(lambda: normalise(read_parquet(path), COLA, "train"))


@given(TYPED_ROWS)
def test_parquet_is_read_as_it_was_written(folder: Path, rows: list[dict[str, Any]]) -> None:
    table = read_parquet(written(folder / "b.parquet", parquet(rows)))
    assert table.rows.to_dict("records") == rows
