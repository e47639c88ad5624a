"""Every broken file is refused with a sentence that names the file and the row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.glue import GLUE

GOOD_COLA = '{"idx": 0, "sentence": "a", "label": 1}\n'
GOOD_STSB = '{"idx": 0, "sentence1": "a", "sentence2": "b", "label": 2.5}\n'
RTE_HEADER = "index\tsentence1\tsentence2\tlabel\n"
GOOD_RTE = RTE_HEADER + "0\ta\tb\tentailment\n"
MSR_HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def load(task: str, root: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    load_task_data(GLUE[task], DataConfig(source="local", root=str(root)))


def cola(line: str) -> str:
    return GOOD_COLA + "\n" + line + "\n"  # the broken line is the third, after a blank one


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cola('{"idx": 1, "sentence": "b"'), r"train\.jsonl, line 3 is not valid JSON: .*column"),
        (cola("[1, 2]"), r"train\.jsonl, line 3 is not a JSON object"),
        (cola('{"idx": 1, "sentence": null, "label": 1}'), r"line 3: 'sentence' is .*not text"),
        (cola('{"idx": 1, "sentence": "b", "label": 2}'), r"line 3: label 2 is not a class id from 0 to 1"),
        (cola('{"idx": 1, "sentence": "b", "label": -1}'), r"line 3: label -1 .*test splits only"),
        (cola('{"idx": 1, "sentence": "b", "label": [1]}'), r"line 3: label \[1\] is not a class id"),
        (cola('{"idx": 1, "sentence": "b", "label": "aceptable"}'), "did you mean 'acceptable'"),
        (cola('{"idx": 1.5, "sentence": "b", "label": 1}'), r"line 3: idx 1\.5 is not a whole number"),
        (cola('{"idx": 0, "sentence": "b", "label": 1}'), r"line 3: idx 0 occurs twice"),
        ('{"idx": 0, "sentense": "a", "label": 1}\n', r"no column 'sentence' \(nearest: 'sentense'\)"),
        ('{"text": "a"}\n', r"no column 'idx' and no column 'sentence'.*columns are: text"),
        ("", r"train\.jsonl has no rows"),
        (
            cola(r'{"idx": 1, "sentence": "b \ud83d", "label": 1}'),
            r"line 3 contains an unpaired surrogate \(U\+D83D\)",
        ),
        (b'{"idx": 0, "sentence": "\xff", "label": 1}\n', r"train\.jsonl cannot be read as UTF-8"),
    ],
)
def test_broken_jsonl_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    files = {"cola/train.jsonl": content, "cola/validation.jsonl": GOOD_COLA}
    with pytest.raises(InputError, match=message):
        load("cola", tmp_path, files)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("5.001", r"line 2: label 5\.001 is not a score from 0\.0 to 5\.0"),
        ("-1", r"line 2: label -1 is not a score .*test splits only"),
        ('"much"', r"line 2: label 'much' is not a number"),
        ("Infinity", r"line 2: label inf is not a score"),
    ],
)
def test_scores_outside_zero_to_five_are_refused(tmp_path: Path, label: str, message: str) -> None:
    broken = GOOD_STSB + f'{{"idx": 1, "sentence1": "c", "sentence2": "d", "label": {label}}}\n'
    with pytest.raises(InputError, match=message):
        load("stsb", tmp_path, {"stsb/train.jsonl": GOOD_STSB, "stsb/validation.jsonl": broken})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (RTE_HEADER + "0\ta\tb\tentailment\n1\tc\td\n", r"train\.tsv, line 3 has 3 fields .* 4 columns"),
        (RTE_HEADER + "0\ta\tb\tentailment\textra\n", r"train\.tsv, line 2 has 5 fields"),
        (RTE_HEADER + "0\ta\tb\tentailmint\n", r"line 2: label 'entailmint' .*mean 'entailment'"),
        (RTE_HEADER, r"train\.tsv has no rows"),
        ("", r"train\.tsv has no column 'sentence1'.*columns are: none"),
        ("index\tsentence_1\tsentence2\tlabel\n0\ta\tb\t1\n", r"'sentence1' \(nearest: 'sentence_1'\)"),
    ],
)
def test_broken_tsv_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load("rte", tmp_path, {"RTE/train.tsv": content, "RTE/dev.tsv": GOOD_RTE})


def test_qqp_rows_with_too_many_fields_are_refused(tmp_path: Path) -> None:
    broken = "id\tquestion1\tquestion2\tis_duplicate\n0\ta\tb\t1\tc\n"
    with pytest.raises(InputError, match=r"train\.tsv, line 2 has 5 fields"):
        load("qqp", tmp_path, {"QQP/train.tsv": broken, "QQP/dev.tsv": broken})


def test_mrpc_without_the_ids_of_its_dev_rows_is_refused(tmp_path: Path) -> None:
    files = {"MRPC/msr_paraphrase_train.txt": MSR_HEADER + "1\t1\t2\ta\tb\n"}
    with pytest.raises(InputError, match=r"dev_ids\.tsv does not exist"):
        load("mrpc", tmp_path, files)


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, length: int) -> None:
    good = pd.DataFrame({"idx": [0], "sentence": ["a"], "label": [1]}).to_parquet(index=False)
    files = {"cola/train.parquet": good[:length], "cola/validation.parquet": good}
    with pytest.raises(InputError, match=r"train\.parquet cannot be read as a whole Parquet file"):
        load("cola", tmp_path, files)


def test_rows_of_a_parquet_file_are_counted_from_one(tmp_path: Path) -> None:
    broken = pd.DataFrame({"idx": [5, 6], "sentence": ["a", None], "label": [1, 1]}, index=[8, 9])
    files = {"cola/train.parquet": broken.to_parquet(), "cola/validation.jsonl": GOOD_COLA}
    with pytest.raises(InputError, match=r"train\.parquet, row 2: 'sentence' is"):
        load("cola", tmp_path, files)


@pytest.mark.parametrize(
    ("present", "missing"), [("validation", "train"), ("train", "validation"), ("test", "train")]
)
def test_train_and_validation_are_needed(tmp_path: Path, present: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"has no {missing} split of task 'cola'; found: {present}"):
        load("cola", tmp_path, {f"cola/{present}.jsonl": GOOD_COLA})


def test_mnli_needs_one_validation_split(tmp_path: Path) -> None:
    row = '{"idx": 0, "premise": "a", "hypothesis": "b", "label": 1}\n'
    with pytest.raises(InputError, match="no validation_matched or validation_mismatched split"):
        load("mnli", tmp_path, {"mnli/train.jsonl": row})
    load("mnli", tmp_path, {"mnli/validation_mismatched.jsonl": row})
