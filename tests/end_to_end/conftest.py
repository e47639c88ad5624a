"""The scripts, called in a process of their own or, which is faster, in the process of the test."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import gluelamp
from gluelamp.cli import commands
from gluelamp.cli.app import CONFIGS, run_app

SCRIPTS = CONFIGS.parent / "scripts"


class Ended(NamedTuple):
    """How a script ended.

    Args:
        code: the exit code.
        out: standard output.
        err: standard error.
    """

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a child process: a new home folder, and this source tree."""
    source = str(Path(gluelamp.__file__).parents[1])
    home = str(tmp_path_factory.mktemp("home"))
    return {**os.environ, "HOME": home, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def small(tiny_backbone: Path) -> tuple[str, ...]:
    """Overrides of a run that takes a second."""
    return (
        *("backbone=tiny", f"backbone.path={tiny_backbone}", "data=sample"),
        *("task.max_train_examples=80", "trainer.batch_size=4", "trainer.max_length=64"),
    )


@pytest.fixture
def train_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    """Run the command of scripts/train.py in this process, which saves the imports."""
    monkeypatch.setattr("gluelamp.training.trainer.matmul_rate", lambda *_: 1e9)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # so that the old value comes back
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def train(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        with pytest.raises(SystemExit) as end:
            run_app(commands.train, "train")
        return Ended(int(end.value.code or 0), *capfd.readouterr())

    yield train
    root.handlers[:], root.level = handlers, level
