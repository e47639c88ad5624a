"""The command ``gluelamp``: its subcommands, its wheel, and folders and methods of the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gluelamp import __version__
from gluelamp.cli.main import SUBCOMMANDS, main
from gluelamp.package_data import CONFIGS
from gluelamp.records import find_runs
from outside_package import install_outside

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def gluelamp(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run the command in a process of its own and in an empty folder, with a folder on Python's path."""
    (tmp_path / "work").mkdir()

    def run(*arguments: str, path: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gluelamp", *arguments],
            cwd=tmp_path / "work",
            env={**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(path)])},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


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


def test_the_module_is_the_command(gluelamp: Command) -> None:
    done = gluelamp("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gluelamp {__version__}\n", "")


def test_a_method_of_an_installed_package_is_a_choice_like_any_other(
    gluelamp: Command, small: tuple[str, ...], tmp_path: Path
) -> None:
    site = install_outside(tmp_path / "site")
    help_text = gluelamp("train", "--help", path=site).stdout
    (methods,) = [line for line in help_text.splitlines() if line.startswith("method: ")]
    assert ", norm_bias, " in methods

    misspelt = gluelamp("train", "method=norm_bais", path=site)
    assert misspelt.stderr.startswith("error: method 'norm_bais' is unknown; did you mean 'norm_bias'? ")
    assert misspelt.returncode == 2

    workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    short = ("trainer.epochs=1", "task.max_train_examples=16")
    sweep = gluelamp("train", "-m", "method=norm_bias", *workers, *small, *short, path=site)
    assert (sweep.returncode, sweep.stderr) == (0, "")
    ((_, record),) = find_runs(tmp_path / "work" / "results")
    assert (record.config.method.name, record.status) == ("norm_bias", "complete")


def test_the_wheel_works_in_an_empty_folder_and_writes_nothing_into_itself(
    environment: dict[str, str], small: tuple[str, ...], tmp_path: Path
) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    (file,) = wheel.WheelBuilder(str(CONFIGS.parent)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "site")  # as pip installs it
    before = files(tmp_path / "site")
    (tmp_path / "work").mkdir()
    environment = {**environment, "PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    for arguments in (
        ("train", "method=bitfit", "trainer.epochs=1", "task.max_train_examples=16", *small),
        ("report", "what=[tables]"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gluelamp", *arguments],
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "work" / "results" / "tables" / "glue_accuracy.md").is_file()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["results"]
    assert files(tmp_path / "site") == before


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_an_installed_method_without_a_config_is_named(gluelamp: Command, tmp_path: Path) -> None:
    site = install_outside(tmp_path / "site")
    (site / "outside" / "configs" / "method" / "norm_bias.yaml").unlink()
    done = gluelamp("train", "method=norm_bias", path=site)
    file = "outside/configs/method/norm_bias.yaml"
    assert done.stderr == f"error: method 'norm_bias' has no config: its package needs the file {file}.\n"
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("gluelamp pre", ["predict", "prepare"]),
        ("gluelamp train method=paf", ["method=pafi"]),
        (
            "gluelamp measure -m what=parameters backbone=roberta",
            ["backbone=roberta_base", "backbone=roberta_large"],
        ),
        ("gluelamp train method=pafi method.dens", ["method.density="]),
        ("gluelamp compare ", []),
    ],
)
def test_bash_completes_subcommands_choices_and_keys(
    environment: dict[str, str], tmp_path: Path, line: str, choices: list[str]
) -> None:
    program = tmp_path / "bin" / "gluelamp"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gluelamp "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    code = """
eval "$(gluelamp -sc install=bash)"
COMP_LINE=$1; COMP_POINT=${#COMP_LINE}; words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1))
hydra_bash_completion
printf "%s\\n" "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "-c", code, "bash", line],
        cwd=tmp_path,
        env={**environment, "PATH": f"{program.parent}{os.pathsep}{environment['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (sorted(done.stdout.split()), done.stderr) == (choices, "")


def test_output_that_nobody_reads_is_no_error(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "gluelamp", "train", "--help"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
