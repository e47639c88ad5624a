"""From a configuration to the files of a finished run."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from gluelamp.errors import InputError
from gluelamp.records import RunRecord, read_record
from gluelamp.runs import execute as execute_module
from gluelamp.runs.config import RunConfig
from gluelamp.runs.execute import execute
from gluelamp.runs.plan import plan_run
from gluelamp.tasks.glue import glue_task
from gluelamp.tasks.sample import generate
from gluelamp.training.trainer import DivergedError, Trainer

TinyRun = Callable[..., RunConfig]


class KilledError(Exception):
    """Stands for the signal."""


def never(*_: object, **__: object) -> None:
    raise AssertionError("a step was trained")


def run_folder(config: RunConfig) -> Path:
    return plan_run(config).folder


def test_a_record_says_all_that_it_promises(tiny_run: TinyRun, tiny_backbone: Path) -> None:
    config = tiny_run("method=lora", "method.rank=4", "task=mrpc", "seed=3")
    record = execute(config)
    folder = run_folder(config)
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert content.keys() == asdict(record).keys()
    assert content == json.loads(json.dumps(asdict(record)))
    assert read_record(folder / "record.json") == RunRecord(**content)

    assert record.schema_version == 1
    assert record.identity == folder.name
    assert (record.status, record.error) == ("complete", None)
    assert record.config["seed"] == 3
    assert record.config["method"] | {"rank": 4, "kind": "LoRA", "name": "lora"} == record.config["method"]
    assert record.config["trainer"]["learning_rate"] == config.method.learning_rate
    assert record.data["source"] == "sample"
    assert record.data["rows"] == {"train": 48, "validation": 400, "test": 200}
    assert len(record.data["fingerprint"]) == 64
    assert record.data["deviations"]
    weights = (tiny_backbone / "model.safetensors").read_bytes()
    assert record.backbone["name"] == "tiny"
    assert record.backbone["checksum"] == hashlib.sha256(weights).hexdigest()
    assert record.protocol.keys() >= {"selection", "head_counted", "starts_from", "validation_reused"}
    assert record.main_metric == "accuracy"
    assert [entry["step"] for entry in record.history] == [6, 12]
    for selection, entries in (("best", record.history), ("last", record.history[-1:])):
        best = max(entries, key=lambda entry: entry["accuracy"])  # the first of equals
        assert record.metrics[selection] == {key: best[key] for key in ("epoch", "accuracy", "f1")}
    assert record.versions["torch"] == version("torch")
    assert record.versions.keys() >= {"python", "gluelamp", "transformers", "peft"}
    assert record.device.items() >= {"type": "cpu", "dtype": "float32"}.items()
    assert record.memory["peak_bytes"] > 50e6
    assert record.speed["train_seconds"] > 0


def test_counts_and_bytes_are_those_of_the_formula_and_the_file(tiny_run: TinyRun) -> None:
    record = execute(config := tiny_run("method=lora", "method.rank=4"))
    layers, width, rank, outputs = 2, 32, 4, 2
    trained, head = 4 * layers * width * rank, (width + 1) * outputs
    assert record.parameters["trained"] == record.parameters["stored_values"] == trained
    assert record.parameters["head"] == head
    assert record.parameters["trained_pct"] == 100 * trained / record.parameters["backbone"]
    file = run_folder(config) / "best.safetensors"
    assert record.bytes == {"method": 4 * trained, "head": 4 * head, "shared": 0, "file": file.stat().st_size}
    assert sum(value.numel() for value in load_file(file).values()) == trained + head


def test_the_git_revision_is_that_of_the_source(tiny_run: TinyRun) -> None:
    source = Path(execute_module.__file__).parent
    command = ["git", "-C", str(source), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = done.stdout.strip() if done.returncode == 0 else None
    assert execute(tiny_run("trainer.epochs=1")).git["revision"] == expected


def test_a_record_holds_no_place_of_this_machine(tiny_run: TinyRun, tmp_path: Path) -> None:
    execute(config := tiny_run("trainer.epochs=1"))
    assert str(tmp_path) not in (run_folder(config) / "record.json").read_text(encoding="utf-8")


def test_a_finished_run_leaves_these_files_and_no_others(tiny_run: TinyRun, tmp_path: Path) -> None:
    execute(config := tiny_run("trainer.epochs=1"))
    assert {path.name for path in run_folder(config).iterdir()} == {
        *(".lock", "record.json", "log.json", "predictions.parquet"),
        *("best.safetensors", "last.safetensors"),
    }
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"runs", "cache"}
    log = json.loads((run_folder(config) / "log.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in log["evaluations"]] == [6]


SCORES: dict[str, Callable[[pd.Series, pd.Series], float]] = {
    "accuracy": lambda label, predicted: accuracy_score(label, predicted),
    "f1": lambda label, predicted: f1_score(label, predicted),
    "matthews_correlation": lambda label, predicted: matthews_corrcoef(label, predicted),
    "pearson": lambda label, predicted: pearsonr(label, predicted).statistic,
    "spearman": lambda label, predicted: spearmanr(label, predicted).statistic,
}


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "mnli"])
def test_the_predictions_give_the_metrics_again(tiny_run: TinyRun, name: str) -> None:
    rates = ("method=full", "method.learning_rate=3e-3", "task.max_train_examples=128")
    record = execute(config := tiny_run(f"task={name}", *rates))
    table = pd.read_parquet(run_folder(config) / "predictions.parquet")
    task = glue_task(name)
    outputs = [f"output_{column}" for column in range(task.num_outputs)]
    assert table.columns.tolist() == ["selection", "split", "idx", "label", *outputs]
    rows = generate(task)
    for (selection, split), part in table.groupby(["selection", "split"]):
        pd.testing.assert_series_equal(
            part["idx"].reset_index(drop=True), rows[split]["idx"], check_names=False
        )
        np.testing.assert_allclose(part["label"], rows[split]["label"], rtol=1e-6)
        values = part[outputs].to_numpy()
        predicted = pd.Series(values[:, 0] if task.is_regression else values.argmax(axis=1))
        suffix = "_mismatched" if split.endswith("_mismatched") else ""
        for metric in task.metrics:
            expected = SCORES[metric](part["label"], predicted)
            found = record.metrics[str(selection)][f"{metric}{suffix}"]
            assert found == pytest.approx(expected, abs=1e-6)  # the labels are kept in fp32
    assert set(table["selection"]) == {"best", "last"}
    assert set(table["split"]) == set(task.validation_splits)
    assert record.metrics["best"][task.main_metric] not in (0.0, 1.0)  # of constant outputs


def test_what_tasks_share_is_stored_once(tiny_run: TinyRun, tmp_path: Path) -> None:
    for task in ("cola", "mrpc"):
        execute(tiny_run("method=pafi", "method.density=0.05", f"task={task}", "trainer.epochs=1"))
    (file,) = (tmp_path / "results" / "shared").iterdir()
    assert all(name.endswith(".positions") for name in load_file(file))


def test_a_complete_run_is_skipped(tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    first = execute(config := tiny_run())
    before = (run_folder(config) / "record.json").stat()
    monkeypatch.setattr(Trainer, "_step", never)
    assert asdict(execute(config)) == json.loads(json.dumps(asdict(first)))
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


def test_a_second_process_cannot_train_the_same_run(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        with monkeypatch.context() as patch, pytest.raises(InputError, match="by another process; wait"):
            patch.setattr(Trainer, "_step", never)
            execute(config)
        assert [path.name for path in folder.iterdir()] == [".lock"]
    finally:
        other.kill()
        other.communicate()
    assert execute(config).status == "complete"  # a dead process holds no lock


def poison(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the loss of one step be NaN."""
    forward = Trainer._forward_and_backward

    def poisoned(self: Trainer, examples: np.ndarray) -> torch.Tensor:
        return forward(self, examples) * (float("nan") if self.progress.step == step - 1 else 1)

    monkeypatch.setattr(Trainer, "_forward_and_backward", poisoned)


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
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tiny_run()
    with monkeypatch.context() as patch:
        poison(patch, step=9)
        with pytest.raises(DivergedError):
            execute(config)
    again = execute(config)
    undisturbed = execute(tiny_run(f"results.root={tmp_path / 'undisturbed'}"))
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


def kill_at_step(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    step = Trainer._step

    def step_or_die(self: Trainer, examples: np.ndarray) -> torch.Tensor:
        if self.progress.step == steps:
            raise KilledError
        return step(self, examples)

    monkeypatch.setattr(Trainer, "_step", step_or_die)


def content_of(folder: Path) -> dict[str, Any]:
    """All that a run leaves and that does not say how fast it was."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    for key in ("speed", "memory"):
        del record[key]
    log = json.loads((folder / "log.json").read_text(encoding="utf-8"))
    predictions = pd.read_parquet(folder / "predictions.parquet").to_dict("list")
    return {"record": record, "log": log, "predictions": predictions}


@pytest.mark.parametrize("method", ["lora", "xpeft"])
def test_a_killed_run_ends_with_the_files_of_an_undisturbed_one(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    overrides = (f"method={method}", "task=stsb", "trainer.checkpoint_steps=4", "trainer.eval_steps=3")
    undisturbed = tiny_run(*overrides, f"results.root={tmp_path / 'undisturbed'}")
    execute(undisturbed)
    config = tiny_run(*overrides)
    with monkeypatch.context() as patch:
        kill_at_step(patch, 7)
        with pytest.raises(KilledError):
            execute(config)
    assert (run_folder(config) / "checkpoint.pt").is_file()
    assert not (run_folder(config) / "record.json").exists()
    execute(config)
    assert content_of(run_folder(config)) == content_of(run_folder(undisturbed))
    assert not (run_folder(config) / "checkpoint.pt").exists()


@pytest.mark.parametrize("place", ["write_predictions", "_completed", "_write"])
def test_a_run_killed_after_training_does_not_train_again(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    config = tiny_run("task=stsb")

    def die(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(execute_module, place, die)
        execute(config)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", never)
        execute(config)
    undisturbed = tiny_run("task=stsb", f"results.root={tmp_path / 'undisturbed'}")
    execute(undisturbed)
    assert content_of(run_folder(config)) == content_of(run_folder(undisturbed))


def test_a_partial_run_starts_anew_if_it_is_to_be_retrained(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_run("on_existing=retrain", "trainer.checkpoint_steps=2")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_at_step(patch, 5)
        execute(config)
    with caplog.at_level("INFO", "gluelamp"):
        execute(config)
    assert not [message for message in caplog.messages if "resuming" in message]


def test_the_state_of_the_process_does_not_change_a_result(tiny_run: TinyRun, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = execute(tiny_run("task=stsb"))
    torch.manual_seed(2)
    second = execute(tiny_run("task=stsb", f"results.root={tmp_path / 'second'}"))
    assert (first.metrics, first.history) == (second.metrics, second.history)
    other = execute(tiny_run("task=stsb", "seed=1"))
    assert other.history != first.history


def test_dropout_of_the_backbone_leaves_that_of_the_method(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[float]] = {"backbone": set(), "lora": set()}

    def look(self: Trainer) -> None:
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Dropout):
                found["lora" if "lora_dropout" in name else "backbone"].add(module.p)
        raise KilledError

    monkeypatch.setattr(Trainer, "run", look)
    with pytest.raises(KilledError):
        execute(tiny_run("method=lora", "method.dropout=0.3", "trainer.dropout=0.05"))
    assert found == {"backbone": {0.05}, "lora": {0.3}}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("task=ax",), "task 'ax' has no training rows; it is for prediction only."),
        (("trainer.device=cuda:77",), "device='cuda:77' is not usable here."),
        (("backbone.path=/nowhere",), "backbone 'tiny': /nowhere holds no config.json."),
        (("data=local", "data.root=/nowhere"), "/nowhere is no folder with task 'cola'."),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_written(
    tiny_run: TinyRun, tmp_path: Path, overrides: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        execute(tiny_run(*overrides))
    assert str(caught.value).startswith(sentence)
    assert not (tmp_path / "results").exists()
