"""The files for the GLUE server, byte by byte, and the warnings about incomplete ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.glue_submission import GLUE_SERVER
from gluelamp.tasks.submission import write_submission, zip_submission
from gluelamp.tasks.task import Task

# The published rows of the eleven test sets.
_OFFICIAL_ROWS = {
    "CoLA.tsv": 1063,
    "SST-2.tsv": 1821,
    "MRPC.tsv": 1725,
    "QQP.tsv": 390965,
    "STS-B.tsv": 1379,
    "MNLI-m.tsv": 9796,
    "MNLI-mm.tsv": 9847,
    "QNLI.tsv": 5463,
    "RTE.tsv": 3000,
    "WNLI.tsv": 146,
    "AX.tsv": 1104,
}


def _small(name: str, rows: int) -> Task:
    """A GLUE task whose test splits have few rows."""
    task = GLUE[name]
    return replace(task, rows=dict(task.rows) | dict.fromkeys(task.test_splits, rows))


def _frame(predictions: Sequence[float], idx: Sequence[int] | None = None) -> pd.DataFrame:
    return pd.DataFrame({"idx": idx or range(len(predictions)), "prediction": predictions})


@pytest.mark.parametrize(
    ("task", "file", "expected"),
    [
        ("cola", "CoLA", ["0", "1"]),
        ("mrpc", "MRPC", ["0", "1"]),
        ("wnli", "WNLI", ["0", "1"]),
        ("rte", "RTE", ["entailment", "not_entailment"]),
        ("ax", "AX", ["entailment", "neutral", "contradiction"]),
    ],
)
def test_classes_are_written_as_the_server_names_them(
    task: str, file: str, expected: list[str], tmp_path: Path
) -> None:
    n = len(expected)
    assert write_submission(GLUE_SERVER, _small(task, n), {"test": _frame(range(n))}, tmp_path) == ()
    lines = ["index\tprediction", *(f"{i}\t{label}" for i, label in enumerate(expected))]
    assert (tmp_path / f"{file}.tsv").read_bytes() == ("\n".join(lines) + "\n").encode()
    assert [path.name for path in tmp_path.iterdir()] == [f"{file}.tsv"]


def test_mnli_has_one_file_per_test_set(tmp_path: Path) -> None:
    frames = {"test_matched": _frame([2, 0]), "test_mismatched": _frame([1, 1])}
    write_submission(GLUE_SERVER, _small("mnli", 2), frames, tmp_path)
    matched, mismatched = ((tmp_path / f"MNLI-{kind}.tsv").read_bytes() for kind in ("m", "mm"))
    assert matched == b"index\tprediction\n0\tcontradiction\n1\tentailment\n"
    assert mismatched == b"index\tprediction\n0\tneutral\n1\tneutral\n"


def test_similarities_are_clipped_sorted_by_index_and_have_three_decimals(tmp_path: Path) -> None:
    values = np.array([5.2, -0.3, -0.0, 2.34567, 4], dtype=np.float32)
    write_submission(
        GLUE_SERVER, _small("stsb", 5), {"test": _frame(values[::-1], idx=[4, 3, 2, 1, 0])}, tmp_path
    )
    assert (tmp_path / "STS-B.tsv").read_bytes() == (
        b"index\tprediction\n0\t5.000\n1\t0.000\n2\t0.000\n3\t2.346\n4\t4.000\n"
    )


@pytest.mark.parametrize(
    ("idx", "sentence"),
    [
        ([0, 1, 3], "CoLA.tsv has 3 rows and lacks 1 of the 4 official test examples"),
        ([0, 1, 2, 3, 4], "CoLA.tsv has 5 rows and lacks 0 of the 4 official test examples"),
    ],
)
def test_rows_that_are_not_the_official_ones_are_written_with_a_warning(
    idx: list[int], sentence: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = _small("cola", 4)
    with caplog.at_level(logging.WARNING):
        deviations = write_submission(GLUE_SERVER, task, {"test": _frame([0] * len(idx), idx)}, tmp_path)
    assert len(deviations) == 1
    assert deviations[0].startswith(sentence)
    assert caplog.messages == list(deviations)
    assert len((tmp_path / "CoLA.tsv").read_text().splitlines()) == len(idx) + 1


@pytest.mark.parametrize(
    ("task", "split", "frame", "message"),
    [
        ("cola", "tset", _frame([0]), "'tset' is unknown; did you mean 'test'"),
        ("mnli", "test", _frame([0]), "'test' is unknown.*test_matched, test_mismatched"),
        ("rte", "test", _frame([0]).drop(columns="idx"), r"lack the column\(s\) idx"),
        ("rte", "test", _frame([0, 1], idx=[3, 3]), "repeat 1 idx values"),
        ("rte", "test", _frame([0, 2, -1]), "2 values that are not a class id; allowed: 0 to 1"),
        ("rte", "test", _frame([np.nan, 1.0]), "1 values that are not a class id"),
        ("stsb", "test", _frame([np.nan, np.inf, 1.0]), "2 values that are not finite"),
    ],
)
def test_predictions_that_cannot_be_submitted_are_refused(
    task: str, split: str, frame: pd.DataFrame, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        write_submission(GLUE_SERVER, GLUE[task], {split: frame}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_submission_has_the_eleven_files_of_the_benchmark() -> None:
    assert set(GLUE_SERVER.files) == set(_OFFICIAL_ROWS)
    rows = {
        f"{stem}.tsv": task.rows[split] for task in GLUE.values() for split, stem in task.submission.items()
    }
    assert rows == _OFFICIAL_ROWS


def test_a_complete_zip_is_flat_and_misses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "files"
    for name in GLUE:
        task = _small(name, 2)
        write_submission(GLUE_SERVER, task, {split: _frame([0, 1]) for split in task.submission}, folder)
    (folder / "notes.txt").write_text("not for the server")
    with caplog.at_level(logging.WARNING):
        assert zip_submission(GLUE_SERVER, folder, tmp_path / "new" / "glue.zip") == ()
    assert caplog.messages == []
    with ZipFile(tmp_path / "new" / "glue.zip") as archive:
        assert sorted(archive.namelist()) == sorted(_OFFICIAL_ROWS)
        for name in archive.namelist():
            assert archive.read(name) == (folder / name).read_bytes()


def test_equal_files_give_equal_bytes_of_the_zip(tmp_path: Path) -> None:
    archives = []
    for turn, names in enumerate((["AX.tsv", "QQP.tsv"], ["QQP.tsv", "AX.tsv"])):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(f"index\tprediction\n{name}\n")
            os.utime(folder / name, (10**9 * (turn + 1),) * 2)
        zip_submission(GLUE_SERVER, folder, tmp_path / f"{turn}.zip")
        archives.append((tmp_path / f"{turn}.zip").read_bytes())
    assert archives[0] == archives[1]
    with ZipFile(tmp_path / "0.zip") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_missing_files_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in set(_OFFICIAL_ROWS) - {"WNLI.tsv", "AX.tsv"}:
        (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        assert set(zip_submission(GLUE_SERVER, tmp_path, tmp_path / "glue.zip")) == {"WNLI.tsv", "AX.tsv"}
    assert "lacks 2 of the 11 files" in caplog.text
    assert "WNLI.tsv, AX.tsv" in caplog.text


def test_an_empty_folder_makes_no_zip(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no submission file"):
        zip_submission(GLUE_SERVER, tmp_path, tmp_path / "glue.zip")
    assert not (tmp_path / "glue.zip").exists()
