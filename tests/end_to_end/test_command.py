"""The command ``gluelamp``: its subcommands, its wheel, and folders and methods of the user's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gluelamp import __version__
from gluelamp.cli.main import SUBCOMMANDS, main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gluelamp", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_help_names_each_subcommand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert call(monkeypatch, *arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if line and line[0] in SUBCOMMANDS] == list(SUBCOMMANDS)


def test_an_unknown_subcommand_is_one_sentence_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "trian", "method=pafi") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: subcommand 'trian' is unknown; did you mean 'train'? Known: ")
    assert err.count("\n") == 1


def test_the_module_is_the_command(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gluelamp", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gluelamp {__version__}\n", "")
