"""The command ``gluelamp compare``: its words, its outputs and its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from gluelamp.cli.compare import main, parse
from gluelamp.reporting.signature import parse_signature

FILES = {
    "gold.csv": "id,label\n0,a\n1,b\n2,a\n3,b\n",
    "one.csv": "id,prediction\n3,b\n2,a\n1,b\n0,a\n",
    "two.csv": "id,prediction\n0,a\n1,a\n2,a\n3,a\n",
}
HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "hydra",
    "omegaconf",
    "sklearn",
    "scipy.stats",
    "altair",
    "peft",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gluelamp compare", *words.split()])
    return main()


def test_the_command_loads_nothing_heavy(folder: Path, environment: dict[str, str]) -> None:
    code = (
        "import sys; from gluelamp.cli.main import main\n"
        "try:\n    main()\n"
        f"except SystemExit as end:\n    print(end.code, [one for one in {HEAVY} if one in sys.modules])"
    )
    command = [sys.executable, "-c", code, "compare", "one.csv", "two.csv", "gold=gold.csv"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_table_names_the_verdict_and_the_signatures(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "one.csv two.csv gold=gold.csv") == 0
    out = capsys.readouterr().out
    assert "\naccuracy, times 100, 4 rows, 95 % intervals\n" in out
    assert ["one", "100.0", "[100.0,", "100.0]", "1"] in [line.split() for line in out.splitlines()]
    assert "\nA tie is inconclusive: read the interval.\n" in out
    assert "covers other examples, not other seeds" in out
    shared, *own = [parse_signature(line.split(": ")[1]) for line in out.splitlines()[-3:]]
    assert (shared["metric"], shared["rows"]) == ("accuracy", "4")
    assert [list(one) for one in own] == [["sha256"], ["sha256"]]


def test_csv_and_json_have_all_numbers_and_the_whole_signature(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "one.csv two.csv gold=gold.csv baseline=two"
    assert run(monkeypatch, f"{words} format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in rows] == ["one", "two"]
    assert (rows[0]["difference"], rows[1]["difference"]) == (0.5, None)
    assert parse_signature(rows[0]["signature"])["rows"] == "4"
    assert run(monkeypatch, f"{words} format=csv") == 0
    frame = pd.read_csv(StringIO(capsys.readouterr().out))
    assert list(frame) == list(rows[0])
    assert frame["score"].tolist() == [1.0, 0.5]


def test_words_name_systems_and_options(folder: Path) -> None:
    (folder / "a=b.csv").write_text(FILES["one.csv"])
    words = parse(["two.csv", "x=one.csv,two.csv", "gold=gold.csv", "a=b.csv"])
    assert words.systems == {
        "two": [Path("two.csv")],
        "x": [Path("one.csv"), Path("two.csv")],
        "a=b": [Path("a=b.csv")],
    }
    assert list(words.systems) == ["two", "x", "a=b"]
    assert words.options == {"gold": "gold.csv"}


def test_files_with_the_same_name_are_named_by_their_folders() -> None:
    paths = ["runs/pafi/cola", "runs/lora/cola", "runs/full/2/cola"]
    assert list(parse(paths).systems) == ["pafi", "lora", "full/2"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("one.csv two.csv metrc=f1", "option 'metrc' is unknown; did you mean 'metric'?"),
        ("one.csv thre.csv gold=gold.csv", "thre.csv is not a file or folder."),
        ("a=one.csv a=two.csv gold=gold.csv", "2 systems are named 'a'. Name them with NAME=FILE;"),
        ("one.csv gold=gold.csv resamples=many", "resamples=many is not allowed: give a number."),
        ("one.csv gold=gold.csv format=xml", "format 'xml' is unknown"),
        ("one.csv gold=gold.csv metric=pearson", "gold.csv: 4 of 4 labels are missing or no finite number"),
        ("gold=gold.csv", "There is nothing to compare"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    sentence: str,
) -> None:
    assert run(monkeypatch, words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"error: {sentence}")
