"""The environment of a command: the terminal's encoding, and secrets, which no file and no line may hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb

from end_to_end.conftest import SCRIPTS, Ended

SECRETS = {"HF_TOKEN": "hf_" + "Qz7" * 12, "WANDB_API_KEY": "5ec2e7" * 6 + "abcd"}


def test_a_terminal_without_unicode_shows_replacement_characters(
    environment: dict[str, str], small: tuple[str, ...], tmp_path: Path
) -> None:
    run = (*small, "method=head_only", "trainer.epochs=1", "results.root='r\u00e9sultats'")
    command = [sys.executable, str(SCRIPTS / "train.py"), *run]
    plain = {**environment, "PYTHONIOENCODING": "ascii", "TERM": "dumb", "NO_COLOR": "1"}
    for _ in range(2):  # the second run is skipped, and names its folder
        done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.isascii()
        assert b"\x1b" not in done.stdout
    assert b"r?sultats" in done.stdout
    assert len(list((tmp_path / "r\u00e9sultats").glob("runs/*/*/*/*/record.json"))) == 1


def test_no_file_and_no_line_holds_a_secret(
    run_here: Callable[..., Ended],
    small: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in {**SECRETS, "WANDB_MODE": "offline", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    wandb.teardown()  # it keeps settings and keys
    run = (*small, "method=bitfit", "trainer.epochs=1", "tracker=wandb")
    commands = (
        ("train", *run),
        ("export", *run, "destination=exported"),
        ("measure", "what=parameters", "method=bitfit", "backbone=tiny", small[1]),
        ("report",),
    )
    ended = [run_here(*command) for command in commands]
    wandb.teardown()
    assert [end.code for end in ended] == [0, 0, 0, 0], ended
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert names >= {"record.json", "log.json", "README.md", "report.html", "config.json"}
    assert [path for path in files if path.suffix == ".wandb"]
    for secret in SECRETS.values():
        assert not [path for path in files if secret.encode() in path.read_bytes()]
        assert not [end for end in ended if secret in end.out + end.err]
