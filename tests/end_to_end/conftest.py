"""The scripts, called in a process of their own or, which is faster, in the process of the test."""

from __future__ import annotations

import logging
import os
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

import gluelamp
from gluelamp.cli import terminal
from gluelamp.package_data import CONFIGS

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


def run_in_process(patch: pytest.MonkeyPatch, folder: Path, script: str, *arguments: str) -> int:
    """Run a script in this process, which saves the imports, and return its exit code."""
    patch.setattr("gluelamp.training.trainer.matmul_rate", lambda *_: 1e9)
    patch.setenv("HYDRA_FULL_ERROR", "1")  # so that the old value comes back
    patch.setattr(sys, "argv", [f"{script}.py", *arguments])
    patch.chdir(folder)
    terminal.screen.cache_clear()  # a command shows a notice once
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    finally:
        root.handlers[:], root.level = handlers, level  # Hydra sets its own
    return int(end.value.code or 0)


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run a script in this process and in the temporary folder."""

    def run(script: str, *arguments: str) -> Ended:
        code = run_in_process(monkeypatch, tmp_path, script, *arguments)
        return Ended(code, *capfd.readouterr())

    return run


@pytest.fixture
def train_here(run_here: Callable[..., Ended]) -> Callable[..., Ended]:
    """Run scripts/train.py in this process and in the temporary folder."""
    return partial(run_here, "train")
