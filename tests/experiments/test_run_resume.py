"""A run that is killed and resumed has the files of a run that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.helpers import KilledError, kill_at_step, never, run_folder
from gluelamp.experiments import run as execute_module
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.run import execute
from gluelamp.training.trainer import Trainer

TinyRun = Callable[..., RunConfig]


def content_of(folder: Path) -> dict[str, Any]:
    """The files of a run without speed and memory."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    for key in ("speed", "memory"):
        del record[key]
    for phase in record["phases"] or ():
        phase.pop("train_seconds", None)
    log = json.loads((folder / "log.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet(folder / "predictions.parquet").to_dict("list")
    return {"record": record, "log": log, "predictions": predictions}


def kill_while_writing(path: Path) -> None:
    """Kill a process inside `atomic_write`, so that it cannot remove its temporary file."""
    code = """
import os, pathlib, signal, sys
from gluelamp.io import atomic_write
with atomic_write(pathlib.Path(sys.argv[1])) as temporary:
    temporary.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)


@pytest.mark.parametrize("method", ["fish", "lt_sft"])  # lt_sft is killed in its first phase
def test_a_killed_run_ends_with_the_files_of_an_undisturbed_one(
    tiny_run: TinyRun, tiny_config: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    overrides = (f"method={method}", "task=stsb", "trainer.checkpoint_steps=4", "trainer.eval_steps=5")
    undisturbed = tiny_config(tmp_path / "undisturbed", *overrides)
    execute(undisturbed)
    config = tiny_run(*overrides)
    with monkeypatch.context() as patch:
        kill_at_step(patch, 7)
        with pytest.raises(KilledError):
            execute(config)
    assert list(run_folder(config).rglob("checkpoint.pt"))
    assert not (run_folder(config) / "record.json").exists()
    kill_while_writing(run_folder(config) / "checkpoint.pt")
    assert list(run_folder(config).glob(".*.partial"))
    execute(config)
    assert content_of(run_folder(config)) == content_of(run_folder(undisturbed))
    assert {path.name for path in run_folder(config).iterdir()} == {
        path.name for path in run_folder(undisturbed).iterdir()
    }


@pytest.mark.parametrize("place", ["write_predictions", "write_record", "_remove_resume_files"])
def test_a_run_killed_after_training_does_not_train_again(
    tiny_run: TinyRun,
    tiny_config: TinyRun,
    finished_results: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    config = tiny_run()

    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(execute_module, place, die)
        with pytest.raises(KilledError):
            execute(config)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", never)
        execute(config)
    assert content_of(run_folder(config)) == content_of(run_folder(tiny_config(finished_results)))


def test_a_partial_run_starts_from_the_beginning_with_on_existing_retrain(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_run("on_existing=retrain", "trainer.checkpoint_steps=2")
    with monkeypatch.context() as patch:
        kill_at_step(patch, 5)
        with pytest.raises(KilledError):
            execute(config)
    with caplog.at_level("INFO", "gluelamp"):
        execute(config)
    assert not [message for message in caplog.messages if "resuming" in message]
