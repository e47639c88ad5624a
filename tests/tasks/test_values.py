"""Texts, identifiers, labels and whole numbers follow one rule in every file format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluelamp.errors import InputError
from gluelamp.experiments.config import parse_task
from gluelamp.tasks.config import CustomTaskConfig, DataConfig
from gluelamp.tasks.custom import read_custom
from gluelamp.tasks.files import read_csv, read_jsonl, read_parquet, read_tsv
from gluelamp.tasks.tables import Table, checked_idx, checked_texts
from gluelamp.tasks.task import TaskData
from gluelamp.tasks.values import bad_character, identifier, label_name, whole_number

EXACT = 2**53
CASES = settings(derandomize=True, database=None, deadline=None)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.mark.parametrize("value", [7, 7.0, "7", " 7 ", "7.0", "7.", "7.000", Decimal("7.00")])
def test_equal_whole_numbers_are_one_value(value: object) -> None:
    assert (identifier(value), label_name(value), whole_number(value)) == ("7", "7", 7)


@pytest.mark.parametrize("text", ["007", "1.10", "+7", "7e0", "A1", "-", "7.0.0", "\u0661.0"])
def test_other_texts_identify_themselves(text: str) -> None:
    assert identifier(f" {text} ") == text


@pytest.mark.parametrize(
    "value", [None, float("nan"), "", "  ", 1.5, 2.0**53 * 2, [1], {}, b"a", "a\0", "\ud83d"]
)
def test_values_that_identify_nothing_exactly(value: object) -> None:
    assert identifier(value) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [("4.50", "4.5"), (4.5, "4.5"), (1e9, "1000000000"), ("-0.50", "-0.5"), ("v1.10", "v1.10")],
)
def test_a_label_is_the_number_that_it_spells(value: object, name: str) -> None:
    assert label_name(value) == name


@CASES
@given(st.integers(-(2**63), 2**63 - 1))
def test_whole_numbers_of_64_bits_are_exact(number: int) -> None:
    assert whole_number(number) == whole_number(str(number)) == number
    assert identifier(number) == identifier(str(number)) == str(number)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "9" * 30, EXACT + 2.0, 0.5, "0.5", True, None, "1_0"])
def test_what_is_no_whole_number_of_64_bits(value: object) -> None:
    assert whole_number(value) is None


@CASES
@given(st.text(st.characters(categories=["L", "Cs", "Cc"])))
def test_a_text_without_a_bad_character_can_be_written_everywhere(text: str) -> None:
    if bad_character(text) is None:
        assert text.encode().decode() == text
        assert "\0" not in text
    else:
        assert "\0" in text or text.encode(errors="replace").decode() != text


def test_row_numbers_above_the_exact_floats_stay_apart() -> None:
    table = Table(pd.DataFrame({"idx": pd.Series([EXACT, EXACT + 1])}), "file")
    assert checked_idx(table).tolist() == [EXACT, EXACT + 1]


def as_csv(path: Path, rows: pd.DataFrame) -> Table:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([rows.columns, *rows.to_numpy()])
    return read_csv(path)


def as_tsv(path: Path, rows: pd.DataFrame) -> Table:
    path.write_text("\n".join("\t".join(row) for row in [rows.columns, *rows.to_numpy()]), encoding="utf-8")
    return read_csv(path, "\t")


def as_official(path: Path, rows: pd.DataFrame) -> Table:
    as_tsv(path, rows)
    return read_tsv(path, {name: name for name in rows})


def as_jsonl(path: Path, rows: pd.DataFrame) -> Table:
    path.write_text("\n".join(map(json.dumps, rows.to_dict("records"))), encoding="utf-8")
    return read_jsonl(path)


def as_parquet(path: Path, rows: pd.DataFrame) -> Table:
    pq.write_table(pa.table({name: rows[name].tolist() for name in rows}), path)
    return read_parquet(path)


FORMATS = [as_csv, as_tsv, as_official, as_jsonl, as_parquet]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "text",
    ["x" * 200_000, "\u2028 \x85 \x0b", 'a "quote', "e\u0301 is not \u00e9", "\ufeff inside", "\U0001f600"],
)
def test_every_format_returns_the_text_that_was_written(
    tmp_path: Path, form: Callable[[Path, pd.DataFrame], Table], text: str
) -> None:
    table = form(tmp_path / "file", pd.DataFrame({"id": ["0"], "text": [text]}))
    assert checked_texts(table, "text").tolist() == [text]
    assert csv.field_size_limit() == 131_072  # the global limit of the module is restored


@pytest.mark.parametrize("form", [as_csv, as_jsonl, as_parquet])
@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "\n", "a\tb", "\r"])
def test_line_ends_within_a_text_are_not_changed(
    tmp_path: Path, form: Callable[[Path, pd.DataFrame], Table], text: str
) -> None:
    table = form(tmp_path / "file", pd.DataFrame({"id": ["0"], "text": [text]}))
    assert checked_texts(table, "text").tolist() == [text]


@pytest.mark.parametrize("form", FORMATS)
def test_nul_is_refused_in_every_format(tmp_path: Path, form: Callable[[Path, pd.DataFrame], Table]) -> None:
    with pytest.raises(InputError, match=r"file, (line|row) \d: 'text' contains a NUL character"):
        checked_texts(form(tmp_path / "file", pd.DataFrame({"id": ["0"], "text": ["a\0b"]})), "text")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r'{"passage": {"text": "\ud83d"}}', r"line 1 contains an unpaired surrogate \(U\+D83D\)"),
        (r'{"\udc00": 1}', r"line 1 contains an unpaired surrogate \(U\+DC00\)"),
        ('{"a": ' + "9" * 5000 + "}", "line 1 cannot be read: Exceeds the limit"),
        ("[" * 100_000, "line 1 cannot be read: maximum recursion depth"),
        ('{"label": 0, "label": 1}', "line 1 has two values of 'label'"),
    ],
)
def test_json_that_would_be_repaired_or_fails_later(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line)
    with pytest.raises(InputError, match=message):
        read_jsonl(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(("suffix", "read"), [("csv", read_csv), ("parquet", read_parquet)])
def test_two_columns_of_one_name(tmp_path: Path, suffix: str, read: Callable[[Path], Table]) -> None:
    path = tmp_path / f"rows.{suffix}"
    path.write_text("text,label,label\na,0,1\n")
    if suffix == "parquet":
        pq.write_table(pa.table([["a"], [0], [1]], names=["text", "label", "label"]), path)
    with pytest.raises(InputError, match="two columns 'label'"):
        read(path)


@pytest.mark.parametrize("form", [as_jsonl, as_parquet])
def test_a_missing_value_leaves_the_others_exact(tmp_path: Path, form: Callable[..., Table]) -> None:
    rows = pd.DataFrame({"user": pd.Series([EXACT + 1, None], dtype="object")})
    assert form(tmp_path / "file", rows).rows["user"].tolist()[0] == EXACT + 1


def custom(path: Path, rows: list[dict[str, Any]], **options: Any) -> TaskData:
    path.write_text("\n".join(map(json.dumps, rows)))
    config = parse_task({"train": str(path), "validation_fraction": 0.3, **options})
    assert isinstance(config, CustomTaskConfig)
    return read_custom(config, DataConfig())


def user_rows(*users: object) -> list[dict[str, Any]]:
    texts = [(f"text {number}", label) for number, label in enumerate([5, "5.0", 5.0, 3, "3", 3.0])]
    return [{"text": text, "label": label, "who": user} for user in users for text, label in texts]


def test_one_and_one_point_zero_are_one_user_and_large_numbers_stay_apart(tmp_path: Path) -> None:
    rows = user_rows(1, 1.0, "1", EXACT, EXACT + 1)
    data = custom(tmp_path / "rows.jsonl", rows, user="who", kind="classification")
    users = pd.concat(list(data.splits.values()))["who"]
    assert users.value_counts().to_dict() == {"1": 18, str(EXACT): 6, str(EXACT + 1): 6}
    assert data.task.labels == ("3", "5")


@pytest.mark.parametrize("user", ["", " ", None, 1e300, [1]])
def test_what_identifies_no_user_is_refused_with_its_line(tmp_path: Path, user: object) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl, line 7: 'who' is "):
        custom(tmp_path / "rows.jsonl", user_rows("a", user), user="who")


@CASES
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_json_lines_return_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    table = as_jsonl(path, pd.DataFrame(rows, columns=["first", "second"]))
    assert list(zip(table.rows["first"], table.rows["second"], strict=True)) == rows
