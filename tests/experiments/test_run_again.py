"""What happens to a run that is there already, in whatever state."""

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
from gluelamp.experiments import run as execute_module
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.run import execute
from gluelamp.records import read_record
from gluelamp.training.trainer import DivergedError, Trainer

TinyRun = Callable[..., RunConfig]


def test_a_complete_run_is_skipped(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    first = execute(config := tiny_run())
    before = (run_folder(config) / "record.json").stat()
    monkeypatch.setattr(Trainer, "_step", never)
    assert execute(config) == first
    after = (run_folder(config) / "record.json").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_retrain_replaces_a_complete_run_by_an_equal_one(tiny_run: TinyRun) -> None:
    first = execute(config := tiny_run())
    folder = run_folder(config)
    before = (folder / "record.json").stat().st_mtime_ns
    (folder / "left_over").mkdir()
    second = execute(replace(config, on_existing="retrain"))
    assert (folder / "record.json").stat().st_mtime_ns > before
    assert not (folder / "left_over").exists()
    assert second.identity == first.identity
    assert (second.metrics, second.history) == (first.metrics, first.history)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_retrain_keeps_the_run_where_bad_input_ends_it(tiny_run: TinyRun) -> None:
    config = tiny_run()
    execute(config)
    before = files(run_folder(config))
    with pytest.raises(InputError, match="graphs"):
        execute(tiny_run("on_existing=retrain", "trainer.graphs=true"))
    assert files(run_folder(config)) == before


@pytest.mark.parametrize("killed_in", ["open_tracker", "train_shared", "write_predictions", "_clear_after"])
def test_retrain_keeps_the_run_until_the_new_one_is_complete(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    execute(config := tiny_run())
    before = files(run_folder(config))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execute_module, killed_in, interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(replace(config, on_existing="retrain"))
    assert files(run_folder(config)) == before
    assert not list(run_folder(config).glob(".retrained"))


def test_retrain_that_diverges_keeps_the_run(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(config := tiny_run())
    before = files(run_folder(config))
    poison(monkeypatch, step=2)
    with pytest.raises(DivergedError):
        execute(replace(config, on_existing="retrain"))
    assert files(run_folder(config)) == before


def test_retrain_replaces_a_damaged_run(tiny_run: TinyRun) -> None:
    first = execute(config := tiny_run())
    (run_folder(config) / "record.json").write_bytes(b"\xff")
    (run_folder(config) / ".retrained").mkdir()  # of a run that was killed
    (run_folder(config) / ".retrained" / "checkpoint.pt").touch()
    assert execute(replace(config, on_existing="retrain")).history == first.history
    assert read_record(run_folder(config) / "record.json").metrics == first.metrics
    assert not list(run_folder(config).glob(".retrained"))


def test_fail_stops_at_a_complete_run_and_keeps_it(tiny_run: TinyRun) -> None:
    config = tiny_run("on_existing=fail")
    execute(config)
    before = (run_folder(config) / "record.json").read_bytes()
    sentence = r"is complete already\. Allowed: on_existing=skip keeps it, on_existing=retrain replaces it\."
    with pytest.raises(InputError, match=sentence):
        execute(config)
    assert (run_folder(config) / "record.json").read_bytes() == before


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
    assert execute(config).status == "complete"  # a dead process holds no lock


def test_a_run_that_diverges_leaves_a_failed_record(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run()
    poison(monkeypatch, step=9)
    with pytest.raises(DivergedError, match="The loss of step 9 is nan"):
        execute(config)
    record = read_record(run_folder(config) / "record.json")
    assert record.status == "failed"
    assert record.error.startswith("The loss of step 9 is nan.")
    assert [entry["step"] for entry in record.history] == [6]
    assert record.metrics == {}
    assert record.identity == run_folder(config).name


def test_a_failed_run_is_tried_again_from_the_start(
    tiny_run: TinyRun, tiny_config: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tiny_run()
    with monkeypatch.context() as patch:
        poison(patch, step=9)
        with pytest.raises(DivergedError):
            execute(config)
    again = execute(config)
    undisturbed = execute(tiny_config(tmp_path / "undisturbed"))
    assert (again.status, again.error) == ("complete", None)
    assert again.identity == undisturbed.identity
    assert (again.metrics, again.history) == (undisturbed.metrics, undisturbed.history)


def test_a_tracker_is_closed_after_a_failure(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    open_tracker = execute_module.open_tracker

    def opened(*args: Any) -> object:
        tracker = open_tracker(*args)
        monkeypatch.setattr(tracker, "close", lambda: closed.append(tracker))
        return tracker

    monkeypatch.setattr(execute_module, "open_tracker", opened)
    poison(monkeypatch, step=2)
    with pytest.raises(DivergedError):
        execute(tiny_run())
    assert len(closed) == 1
