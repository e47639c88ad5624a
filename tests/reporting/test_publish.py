"""Adding the printed scores of a paper: accepted rows, refused rows, and unchanged files after an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gluelamp.cli.commands import publish
from gluelamp.errors import InputError
from gluelamp.reporting.published_scores import COLUMNS, add_published, read_published

ROOT = Path(__file__).parents[2]
VALID = ("P (2023)", "Table 1", "hiwi", "roberta_large", "dev; r=4", "rte", "accuracy", "50.0", "the PDF")
NAMES = ({"hiwi", "pafi", "lora"}, {"roberta_large"})


def changed(**cells: str) -> tuple[str, ...]:
    return tuple(cells.get(column, cell) for column, cell in zip(COLUMNS, VALID, strict=True))


def write(file: Path, *rows: tuple[str, ...]) -> Path:
    lines = [",".join(f'"{cell}"' for cell in row) for row in (COLUMNS, *rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def add(tmp_path: Path, *rows: tuple[str, ...], paper: str = "pafi_hiwi") -> int:
    folder = tmp_path / "published"
    folder.mkdir(exist_ok=True)
    return add_published(write(tmp_path / "mine.csv", *rows), paper, folder, *NAMES)


def test_new_rows_are_appended_as_printed(tmp_path: Path) -> None:
    assert add(tmp_path, VALID) == 1
    assert add(tmp_path, VALID, changed(task="cola", metric="matthews_correlation", value="40.10")) == 1
    assert (tmp_path / "published" / "pafi_hiwi.csv").read_text(encoding="utf-8").splitlines() == [
        ",".join(COLUMNS),
        "P (2023),Table 1,hiwi,roberta_large,dev; r=4,rte,accuracy,50.0,the PDF",
        "P (2023),Table 1,hiwi,roberta_large,dev; r=4,cola,matthews_correlation,40.10,the PDF",
    ]
    cells = read_published(tmp_path / "published")
    assert cells["hiwi", "roberta_large", "rte", "accuracy"] == pytest.approx(0.5)


def test_a_paper_has_a_file_of_its_own(tmp_path: Path) -> None:
    add(tmp_path, VALID, paper="xpeft")
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["xpeft.csv"]
    with pytest.raises(InputError, match="paper 'pafi' is unknown; did you mean 'pafi_hiwi'"):
        add(tmp_path, VALID, paper="pafi")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"method": "hiwy"}, r"mine\.csv, row 1: method 'hiwy' is unknown; did you mean 'hiwi'\?"),
        ({"backbone": "roberta"}, "backbone 'roberta' is unknown; did you mean 'roberta_large'"),
        ({"task": "colla"}, r"row 1: task 'colla' is unknown; did you mean 'cola'\?"),
        ({"metric": "f1"}, "row 1: metric of rte 'f1' is unknown"),
        ({"protocol": "development"}, "row 1, column protocol"),
        ({"value": "5o"}, "value '5o' is not a number"),
        ({"value": "nan"}, "value nan is outside -100 to 100"),
        ({"value": "100.1"}, "value 100.1 is outside -100 to 100"),
        ({"value": "0.501"}, "value 0.501 looks like a fraction; write it as printed, in percent"),
        ({"source": ""}, "row 1, column source"),
    ],
)
def test_an_invalid_row_is_named(tmp_path: Path, cells: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        add(tmp_path, changed(**cells))
    assert not (tmp_path / "published" / "pafi_hiwi.csv").exists()


@pytest.mark.parametrize("value", ["0", "0.0", "-3.5", "100"])
def test_scores_at_the_limits_are_accepted(tmp_path: Path, value: str) -> None:
    assert add(tmp_path, changed(task="cola", metric="matthews_correlation", value=value)) == 1


def test_a_cell_occurs_once_and_never_with_two_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 2: the same cell as row 1"):
        add(tmp_path, VALID, VALID)
    add(tmp_path, VALID)
    before = (tmp_path / "published" / "pafi_hiwi.csv").read_bytes()
    with pytest.raises(InputError, match=r"row 2: value 51 contradicts the published value 50\.0"):
        add(tmp_path, changed(task="qnli"), changed(value="51"))
    assert (tmp_path / "published" / "pafi_hiwi.csv").read_bytes() == before
    assert add(tmp_path, changed(value="50")) == 0


def test_the_columns_must_be_those_of_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("method,value\nhiwi,50\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.csv has no column 'paper'"):
        add_published(file, "pafi_hiwi", tmp_path, *NAMES)
    file.write_bytes(b"method,value\nhiwi,\xe9\n")
    with pytest.raises(InputError, match=r"mine\.csv cannot be read as CSV in UTF-8: "):
        add_published(file, "pafi_hiwi", tmp_path, *NAMES)
    write(file)
    with pytest.raises(InputError, match=r"mine\.csv has no row"):
        add_published(file, "pafi_hiwi", tmp_path, *NAMES)
    with pytest.raises(InputError, match=r"absent\.csv is no file"):
        add_published(tmp_path / "absent.csv", "pafi_hiwi", tmp_path, *NAMES)


def test_the_command_checks_names_and_exits_with_2_on_bad_input(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "mine.csv", VALID, changed(method="sparse_random"))
    caplog.set_level("INFO", logger="gluelamp")
    publish({"file": str(file), "paper": "pafi_hiwi", "published": str(tmp_path)})
    assert caplog.messages == [f"2 new rows in {tmp_path / 'pafi_hiwi.csv'}"]
    write(file, changed(method="sparse_randon"))
    options = [f"file={file}", "paper=pafi_hiwi", f"published={tmp_path}", f"results.root={tmp_path}"]
    command = [sys.executable, str(ROOT / "scripts" / "publish.py"), *options]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
