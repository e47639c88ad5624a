"""What happens to a run that exists already, in any state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.helpers import never, poison, run_folder
from gluelamp.errors import InputError
from gluelamp.experiments import run as run_module
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.run import execute
from gluelamp.records import read_record
from gluelamp.training.trainer import DivergedError, Trainer

TinyRun = Callable[..., RunConfig]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_complete_run_is_skipped_or_refused(
    finished_run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(run_folder(finished_run))
    monkeypatch.setattr(Trainer, "_step", never)
    assert execute(finished_run) == read_record(run_folder(finished_run) / "record.json")
    sentence = r"is complete already\. Allowed: on_existing=skip keeps it, on_existing=retrain replaces it\."
    with pytest.raises(InputError, match=sentence):
        execute(replace(finished_run, on_existing="fail"))
    assert files(run_folder(finished_run)) == before


def test_retrain_replaces_a_complete_run_by_an_equal_one(finished_run: RunConfig) -> None:
    folder = run_folder(finished_run)
    first = read_record(folder / "record.json")
    before = (folder / "record.json").stat().st_mtime_ns
    (folder / "left_over").mkdir()
    second = execute(replace(finished_run, on_existing="retrain"))
    assert (folder / "record.json").stat().st_mtime_ns > before
    assert not (folder / "left_over").exists()
    assert second.identity == first.identity
    assert (second.metrics, second.history) == (first.metrics, first.history)


@pytest.mark.parametrize(
    "killed_in", ["open_tracker", "train_shared", "write_predictions", "_remove_resume_files"]
)
def test_retrain_keeps_the_run_until_the_new_one_is_complete(
    finished_run: RunConfig, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    before = files(run_folder(finished_run))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, killed_in, interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(replace(finished_run, on_existing="retrain"))
    assert files(run_folder(finished_run)) == before
    assert not list(run_folder(finished_run).glob(".retrained"))


def test_retrain_that_fails_keeps_the_run(
    finished_run: RunConfig, tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(run_folder(finished_run))
    with pytest.raises(InputError, match="graphs"):
        execute(tiny_run("on_existing=retrain", "trainer.graphs=true"))
    poison(monkeypatch, step=2)
    with pytest.raises(DivergedError):
        execute(replace(finished_run, on_existing="retrain"))
    assert files(run_folder(finished_run)) == before


def test_retrain_replaces_a_damaged_run(finished_run: RunConfig) -> None:
    folder = run_folder(finished_run)
    history = read_record(folder / "record.json").history
    (folder / "record.json").write_bytes(b"\xff")
    (folder / ".retrained").mkdir()  # of a run that was killed
    (folder / ".retrained" / "checkpoint.pt").touch()
    assert execute(replace(finished_run, on_existing="retrain")).history == history
    assert read_record(folder / "record.json").history == history
    assert not list(folder.glob(".retrained"))


HOLD_THE_LOCK = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_cannot_train_the_same_run(tiny_run: TinyRun) -> None:
    config = tiny_run("trainer.epochs=1")
    folder = run_folder(config)
    folder.mkdir(parents=True)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(folder / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="is being trained by another process; wait"):
            execute(config)
        assert [path.name for path in folder.iterdir()] == [".lock"]
    finally:
        other.kill()
        other.communicate()
    assert execute(config).status == "complete"  # a process that has ended holds no lock


def test_a_run_that_diverges_leaves_a_failed_record_and_is_tried_again_from_the_start(
    tiny_run: TinyRun, finished_results: Path, tiny_config: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run()
    closed = []
    open_tracker = run_module.open_tracker

    def opened(*args: Any) -> object:
        tracker = open_tracker(*args)
        monkeypatch.setattr(tracker, "close", lambda: closed.append(tracker))
        return tracker

    with monkeypatch.context() as patch:
        poison(patch, step=9)
        patch.setattr(run_module, "open_tracker", opened)
        with pytest.raises(DivergedError, match="The loss of step 9 is nan"):
            execute(config)
    assert len(closed) == 1
    record = read_record(run_folder(config) / "record.json")
    assert record.status == "failed"
    assert record.error.startswith("The loss of step 9 is nan.")
    assert [entry["step"] for entry in record.history] == [6]
    assert (record.metrics, record.identity) == ({}, run_folder(config).name)

    again = execute(config)
    undisturbed = read_record(run_folder(tiny_config(finished_results)) / "record.json")
    assert (again.status, again.error, again.identity) == ("complete", None, undisturbed.identity)
    assert (again.metrics, again.history) == (undisturbed.metrics, undisturbed.history)
