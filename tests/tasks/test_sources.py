"""Each layout of local files gives the same checked rows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import fingerprint, load_task_data
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.task import TaskData

Splits = dict[str, list[tuple]]

COLA: Splits = {
    "train": [(0, 'He said "no', 1), (1, "Him sleeps.", 0)],
    "validation": [(0, "A café.", 1)],
    "test": [(0, "Who knows?", -1)],
}
STSB: Splits = {"train": [(0, "A.", "B.", 3.8)], "validation": [(0, "C.", "D.", 0.0)]}


def local(task: str, root: Path) -> TaskData:
    return load_task_data(GLUE[task], DataConfig(source="local", root=str(root)))


def rows(data: TaskData, split: str) -> list[tuple]:
    return list(data.splits[split].itertuples(index=False, name=None))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def frames(task: str, splits: Splits) -> dict[str, pd.DataFrame]:
    columns = ["idx", *GLUE[task].text_columns, "label"]
    return {split: pd.DataFrame(values, columns=columns) for split, values in splits.items()}


def as_jsonl(root: Path, task: str, splits: Splits) -> None:
    for split, frame in frames(task, splits).items():
        lines = [json.dumps(record) + "\n" for record in frame.to_dict("records")]
        write(root / task / f"{split}.jsonl", "".join(lines))


def as_parquet(root: Path, task: str, splits: Splits) -> None:
    (root / task).mkdir()
    for split, frame in frames(task, splits).items():
        narrow = frame.astype({"idx": "int32"} | ({"label": "float32"} if task == "stsb" else {}))
        narrow.iloc[:, ::-1].to_parquet(root / task / f"{split}.parquet")


def as_official(root: Path, task: str, splits: Splits) -> None:
    if task == "cola":
        for split, name in (("train", "train"), ("validation", "dev")):
            lines = [f"src\t{label}\t*\t{text}\n" for _, text, label in splits[split]]
            write(root / "CoLA" / f"{name}.tsv", "".join(lines))
        hidden = [f"{idx}\t{text}\n" for idx, text, _ in splits["test"]]
        write(root / "CoLA" / "test.tsv", "index\tsentence\n" + "".join(hidden))
    else:
        for split, name in (("train", "train"), ("validation", "dev")):
            lines = [f"{i}\tnews\t{a}\t{b}\t{label:.3f}\n" for i, a, b, label in splits[split]]
            header = "index\tgenre\tsentence1\tsentence2\tscore\n"
            write(root / "STS-B" / f"{name}.tsv", header + "".join(lines))


@pytest.mark.parametrize("layout", [as_jsonl, as_parquet, as_official])
@pytest.mark.parametrize(("task", "splits"), [("cola", COLA), ("stsb", STSB)])
def test_the_same_rows_from_any_layout_have_the_same_content_and_fingerprint(
    tmp_path: Path, layout: Callable[[Path, str, Splits], None], task: str, splits: Splits
) -> None:
    layout(tmp_path, task, splits)
    data = local(task, tmp_path)
    assert {split: rows(data, split) for split in data.splits} == splits
    by_hand = "".join(
        json.dumps([split, column, [row[position] for row in splits[split]]])
        for split in sorted(splits)
        for position, column in enumerate(["idx", *data.task.text_columns, "label"])
    )
    assert data.fingerprint == hashlib.sha256(by_hand.encode()).hexdigest()


def test_columns_have_the_promised_names_order_and_types(tmp_path: Path) -> None:
    as_jsonl(tmp_path, "stsb", STSB | {"test": [(0, "E.", "F.", -1)]})
    for frame in local("stsb", tmp_path).splits.values():
        assert list(frame) == ["idx", "sentence1", "sentence2", "label"]
        assert frame["idx"].dtype == "int64"
        assert frame["label"].dtype == "float64"
        assert pd.api.types.is_string_dtype(frame["sentence1"])
    as_jsonl(tmp_path, "cola", COLA)
    assert local("cola", tmp_path).splits["train"]["label"].dtype == "int64"


def test_fingerprint_does_not_depend_on_the_size_of_the_hashed_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splits = {"train": pd.DataFrame({"idx": range(5), "text": ["a", "é", '"', "", "b"]})}
    expected = fingerprint(splits)
    monkeypatch.setattr("gluelamp.tasks.data._HASHED_AT_ONCE", 2)
    assert fingerprint(splits) == expected


def test_fingerprint_depends_on_rows_and_names_but_not_on_the_order_of_splits() -> None:
    base = frames("cola", COLA)
    swapped = base | {"train": base["train"].iloc[::-1]}
    relabelled = base | {"test": base["test"].assign(label=1)}
    renamed = {"other" if split == "test" else split: frame for split, frame in base.items()}
    assert len({fingerprint(splits) for splits in (base, swapped, relabelled, renamed)}) == 4
    assert fingerprint(dict(reversed(base.items()))) == fingerprint(base)


def test_mrpc_dev_rows_are_those_whose_pair_of_ids_is_named(tmp_path: Path) -> None:
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    body = "1\t10\t20\ta\tb\n0\t30\t40\tc\td\n1\t10\t40\te\tf\n0\t20\t10\tg\th\n"
    write(tmp_path / "MRPC" / "msr_paraphrase_train.txt", header + body)
    write(tmp_path / "MRPC" / "dev_ids.tsv", "30\t40\n10\t20\n")
    write(tmp_path / "MRPC" / "msr_paraphrase_test.txt", header + "1\t1\t2\ti\tj\n")
    data = local("mrpc", tmp_path)
    assert rows(data, "train") == [(2, "e", "f", 1), (3, "g", "h", 0)]
    assert rows(data, "validation") == [(0, "a", "b", 1), (1, "c", "d", 0)]
    assert rows(data, "test") == [(0, "i", "j", 1)]


def test_mnli_tsv_columns_are_found_by_name_and_labels_take_the_hub_s_ids(tmp_path: Path) -> None:
    header = "index\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
    body = "0\tp\ta\tb\tx\tcontradiction\n1\tp\tc\td\tx\tentailment\n2\tp\te\tf\tx\tneutral\n"
    write(tmp_path / "MNLI" / "train.tsv", header + body)
    write(tmp_path / "MNLI" / "dev_matched.tsv", header + body)
    write(tmp_path / "MNLI" / "dev_mismatched.tsv", header + body)
    write(tmp_path / "MNLI" / "test_mismatched.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
    data = local("mnli", tmp_path)
    expected = [(0, "a", "b", 2), (1, "c", "d", 0), (2, "e", "f", 1)]
    assert all(rows(data, split) == expected for split in list(data.splits)[:3])
    assert rows(data, "test_mismatched") == [(0, "a", "b", -1)]


@pytest.mark.parametrize(
    ("task", "folder", "lines", "expected"),
    [
        ("sst2", "SST-2", "sentence\tlabel\nfine \t1", (0, "fine ", 1)),
        ("qnli", "QNLI", "index\tquestion\tsentence\tlabel\n7\tq\ts\tnot_entailment", (0, "q", "s", 1)),
        ("rte", "RTE", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment", (0, "a", "b", 0)),
        ("wnli", "WNLI", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1", (0, "a", "b", 1)),
    ],
)
def test_official_labels_become_the_hub_s_class_ids(
    tmp_path: Path, task: str, folder: str, lines: str, expected: tuple
) -> None:
    for name in ("train", "dev"):
        write(tmp_path / folder / f"{name}.tsv", lines + "\n")
    assert rows(local(task, tmp_path), "train") == [expected]


def test_qqp_rows_that_are_cut_off_are_left_out_but_numbered_as_on_the_hub(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    body = "9\t1\t2\ta\tb\t0\n8\t1\t2\tcut off\n7\t3\t4\tc\t\t1\n"
    write(tmp_path / "QQP" / "train.tsv", header + body)
    write(tmp_path / "QQP" / "dev.tsv", header + body)
    assert rows(local("qqp", tmp_path), "train") == [(0, "a", "b", 0), (2, "c", "", 1)]


def test_the_diagnostic_set_needs_neither_train_nor_labels(tmp_path: Path) -> None:
    text = "index\tsentence1\tsentence2\n0\ta\tb\n"
    write(tmp_path / "diagnostic" / "diagnostic.tsv", text)
    assert rows(local("ax", tmp_path), "test") == [(0, "a", "b", -1)]


def test_mnli_plain_validation_and_test_are_the_matched_ones(tmp_path: Path) -> None:
    row = [(0, "p", "h", 2)]
    as_jsonl(tmp_path, "mnli", {"train": row, "validation": row, "test": [(0, "p", "h", -1)]})
    data = local("mnli", tmp_path)
    assert list(data.splits) == ["train", "validation_matched", "test_matched"]
    assert "validation_mismatched is missing; the official split has 9,832" in data.deviations
    assert "train has 1 rows; the official split has 392,702" in data.deviations


def test_official_row_counts_leave_no_deviation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = {"train": 635, "validation": 71, "test": 146}
    splits = {
        split: [(i, "a", "b", -1 if split == "test" else i % 2) for i in range(count)]
        for split, count in counts.items()
    }
    as_jsonl(tmp_path, "wnli", splits)
    assert local("wnli", tmp_path).deviations == ()
    assert not caplog.messages
    as_jsonl(tmp_path, "wnli", {"test": splits["test"][1:]})
    assert local("wnli", tmp_path).deviations == ("test has 145 rows; the official split has 146",)
    assert not caplog.messages  # no score is on test rows


def test_other_rows_than_the_official_ones_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    as_jsonl(tmp_path, "wnli", {"train": [(0, "a", "b", 1)], "validation": [(0, "a", "b", 0)]})
    local("wnli", tmp_path)
    assert caplog.messages[0].startswith(
        "wnli: these are not the official rows: train has 1 rows; the official split has 635; "
    )


@pytest.mark.parametrize("folder", [".", "glue", "glue_data"])
def test_root_may_be_the_folder_of_the_tasks_or_the_one_above_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    as_official(tmp_path / folder, "cola", COLA)
    assert rows(local("cola", tmp_path), "train") == COLA["train"]


def test_rows_are_logged_with_their_folder_and_each_split_has_one_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="gluelamp")
    as_jsonl(tmp_path, "cola", COLA)
    assert local("cola", tmp_path).source == "local"
    assert f"2 train, 1 validation, 1 test rows from local ({tmp_path})" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]  # the numbers of rows
    frames("cola", COLA)["test"].to_parquet(tmp_path / "cola" / "test.parquet")
    with pytest.raises(InputError, match=r"test\.jsonl and .*test\.parquet both hold"):
        local("cola", tmp_path)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_blank_lines_and_byte_order_marks_are_ignored(tmp_path: Path, newline: str) -> None:
    lines = ["\ufeff" + '{"idx": 0, "sentence": "a", "label": 1}', "", "   ", ""]
    for split in ("train", "validation"):
        path = tmp_path / "cola" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(newline.join(lines).encode())
    assert rows(local("cola", tmp_path), "train") == [(0, "a", 1)]


def as_shards(root: Path, split: str, rows: pd.DataFrame, count: int) -> None:
    (root / "cola").mkdir(exist_ok=True)
    for number in range(count):
        name = f"{split}-{number:05}-of-{count:05}.parquet"
        rows.iloc[number * len(rows) // count : (number + 1) * len(rows) // count].to_parquet(
            root / "cola" / name
        )


def test_the_hub_s_own_shards_are_read_in_order(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "whole", "cola", COLA)
    for split, rows_of_split in frames("cola", COLA).items():
        as_shards(tmp_path, split, rows_of_split, 2 if split == "train" else 1)
    assert local("cola", tmp_path).fingerprint == local("cola", tmp_path / "whole").fingerprint


def test_a_missing_shard_a_second_copy_and_a_wrong_row_of_a_shard_are_named(tmp_path: Path) -> None:
    as_jsonl(tmp_path, "cola", {split: COLA[split] for split in ("validation", "test")})
    bad = pd.DataFrame({"idx": [0, 1, 2, 3], "sentence": list("abcd"), "label": [0, 1, 0, 2]})
    as_shards(tmp_path, "train", bad, 2)
    with pytest.raises(InputError, match=r"cola, row 2 of train-00001-of-00002\.parquet: label 2 is not"):
        local("cola", tmp_path)
    (tmp_path / "cola" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"lacks train-00000-of-00002\.parquet of 2 shards"):
        local("cola", tmp_path)
    as_shards(tmp_path, "train", bad, 2)
    as_jsonl(tmp_path, "cola", {"train": COLA["train"]})
    with pytest.raises(InputError, match=r"train\.jsonl and .*train-00000-of-00002\.parquet both hold"):
        local("cola", tmp_path)


@pytest.mark.parametrize(("quality", "label"), [("Quality", 1), ("index", -1)])
def test_mrpc_may_have_a_file_for_each_split(tmp_path: Path, quality: str, label: int) -> None:
    columns = "\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    for name, text in (("train", "a"), ("dev", "b")):
        write(tmp_path / "MRPC" / f"{name}.tsv", f"\ufeffQuality{columns}0\t1\t2\t{text}\tx\n")
    write(tmp_path / "MRPC" / "test.tsv", f"{quality}{columns}1\t1\t2\tc\tx\n")
    data = local("mrpc", tmp_path)
    assert {split: rows(data, split) for split in data.splits} == {
        "train": [(0, "a", "x", 0)],
        "validation": [(0, "b", "x", 0)],
        "test": [(0, "c", "x", label)],
    }


@pytest.mark.parametrize("form", [as_jsonl, as_parquet])
@pytest.mark.parametrize("hidden", [None, -1, float("nan"), "absent"])
def test_hidden_labels_are_absent_null_or_minus_one(
    tmp_path: Path, form: Callable[[Path, str, Splits], None], hidden: object
) -> None:
    form(tmp_path, "cola", COLA)
    test = frames("cola", COLA)["test"].astype({"label": "object"}).assign(label=hidden)
    test = test.drop(columns="label") if hidden == "absent" else test
    (file,) = (tmp_path / "cola").glob("test.*")
    if file.suffix == ".jsonl":
        write(file, "".join(json.dumps(row) + "\n" for row in test.to_dict("records")))
    else:
        test.to_parquet(file)
    assert set(local("cola", tmp_path).splits["test"]["label"]) == {-1}


@settings(derandomize=True, database=None, deadline=None)
@given(*[st.lists(st.tuples(st.integers(0, 3), st.text(max_size=3), st.integers(-1, 1)), max_size=4)] * 2)
def test_two_contents_never_share_a_fingerprint(one: list[tuple], other: list[tuple]) -> None:
    contents = [
        {"train": pd.DataFrame(content, columns=["idx", "sentence", "label"])} for content in (one, other)
    ]
    assert (fingerprint(contents[0]) == fingerprint(contents[1])) == (one == other)
