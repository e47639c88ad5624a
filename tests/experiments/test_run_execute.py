"""The files of a finished run."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from experiments.helpers import KilledError, run_folder
from gluelamp.experiments import run as run_module
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.experiments.training import bare_model
from gluelamp.records import read_record
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.sample import generate
from gluelamp.training.trainer import Trainer

TinyRun = Callable[..., RunConfig]


def test_a_record_describes_its_run(tiny_run: TinyRun, tiny_backbone: Path) -> None:
    config = tiny_run("method=lora", "method.rank=4", "task=mrpc", "seed=3")
    record = execute(config)
    folder = run_folder(config)
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert read_record(folder / "record.json") == record
    assert content["config"] == record.config_dict()

    assert record.schema_version == content["schema_version"] == 3
    assert record.overrides[:4] == ["backbone=tiny", "method=lora", "task=mrpc", "data=sample"]
    assert record.identity == folder.name
    assert (record.status, record.error) == ("complete", None)
    assert record.config.seed == 3
    method = content["config"]["method"]
    assert method | {"rank": 4, "kind": "LoRA", "name": "lora"} == method
    assert content["config"]["trainer"]["learning_rate"] == config.trainer.learning_rate
    assert record.data.source == "sample"
    assert record.data.rows == {"train": 48, "validation": 400, "test": 200}
    assert len(record.data.fingerprint) == 64
    assert record.data.deviations
    weights = (tiny_backbone / "model.safetensors").read_bytes()
    assert record.backbone.name == "tiny"
    assert record.backbone.checksum == hashlib.sha256(weights).hexdigest()
    assert content["protocol"].keys() >= {"selection", "head_counted", "starts_from", "validation_reused"}
    assert record.main_metric == "accuracy"
    assert [entry["step"] for entry in record.history] == [6, 12]
    for selection, entries in (("best", record.history), ("last", record.history[-1:])):
        best = max(entries, key=lambda entry: entry["accuracy"])  # the first of equals
        assert record.metrics[selection] == {key: best[key] for key in ("epoch", "accuracy", "f1")}
    assert record.versions["torch"] == version("torch")
    assert record.versions.keys() >= {"python", "gluelamp", "transformers", "peft"}
    assert record.device.items() >= {"type": "cpu", "dtype": "float32"}.items()
    assert record.memory.peak_bytes > 50e6
    assert record.speed["train_seconds"] > 0


def test_counts_and_bytes_are_those_of_the_formula_and_the_file(tiny_run: TinyRun) -> None:
    record = execute(config := tiny_run("method=lora", "method.rank=4"))
    layers, width, rank, outputs = 2, 32, 4, 2
    trained, head = 4 * layers * width * rank, (width + 1) * (width + outputs)
    assert record.parameters.trained == record.parameters.stored_values == trained
    assert record.parameters.head == head
    assert record.parameters.live == trained  # every value gets a gradient
    assert record.parameters.trained_pct == 100 * trained / record.parameters.backbone
    file = run_folder(config) / "best.safetensors"
    assert dict(record.bytes) == {
        **{"method": 4 * trained, "head": 4 * head, "shared": 0, "file": file.stat().st_size}
    }
    assert sum(value.numel() for value in load_file(file).values()) == trained + head


def test_a_finished_run_leaves_these_files_and_no_path_of_this_machine_in_its_record(
    finished_run: RunConfig, tmp_path: Path
) -> None:
    folder = run_folder(finished_run)
    assert {path.name for path in folder.iterdir()} == {
        *(".lock", "record.json", "log.json", "predictions.parquet"),
        *("best.safetensors", "last.safetensors", "paths.json"),
    }
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"runs", "cache"}
    log = json.loads((folder / "log.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in log["evaluations"]] == [6, 12]
    assert str(tmp_path.parent) not in (folder / "record.json").read_text(encoding="utf-8")
    command = ["git", "-C", str(Path(run_module.__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expected = done.stdout.strip() if done.returncode == 0 else None
    assert read_record(folder / "record.json").git["revision"] == expected


SCORES: dict[str, Callable[[pd.Series, pd.Series], float]] = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "matthews_correlation": matthews_corrcoef,
    "pearson": lambda label, predicted: pearsonr(label, predicted).statistic,
    "spearman": lambda label, predicted: spearmanr(label, predicted).statistic,
}


@pytest.mark.parametrize("name", ["cola", "stsb", "mnli"])
def test_the_predictions_give_the_metrics_again(tiny_run: TinyRun, name: str) -> None:
    record = execute(config := tiny_run("method=full", f"task={name}"))
    table = pd.read_parquet(run_folder(config) / "predictions.parquet")
    task = known_task(name)
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
            assert found == pytest.approx(expected, abs=1e-6)  # the labels are stored in fp32
    assert set(table["selection"]) == {"best", "last", "held_out"}
    assert set(table["split"]) == set(task.validation_splits)
    assert predicted.nunique() > 1  # constant outputs would agree with much


@pytest.mark.parametrize(
    ("overrides", "bias"),
    [
        (("task=stsb",), [2.5]),
        (("task=mrpc",), [0.0, 0.0]),
        (("task=mixture", "task.members=[cola,stsb,mrpc]"), [0.0, 0.0, 2.5, 0.0, 0.0]),
    ],
    ids=["regression", "classification", "mixture"],
)
def test_a_head_starts_in_the_middle_of_a_regression_tasks_labels(
    tiny_run: TinyRun, overrides: tuple[str, ...], bias: list[float]
) -> None:
    plan = plan_run(tiny_run(*overrides))
    assert bare_model(plan).classifier.bias.tolist() == bias
    assert plan.effective["task"].get("initial_head_bias", [0.0] * len(bias)) == bias


def test_values_that_tasks_share_are_stored_once(tiny_run: TinyRun, tmp_path: Path) -> None:
    for task in ("cola", "mrpc"):
        execute(tiny_run("method=pafi", "method.density=0.05", f"task={task}", "trainer.epochs=1"))
    (file,) = (tmp_path / "results" / "shared").iterdir()
    assert all(name.endswith(".positions") for name in load_file(file))


def test_the_state_of_the_process_does_not_change_a_result(
    tiny_run: TinyRun, tiny_config: TinyRun, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    first = execute(tiny_run("task=stsb", "trainer.epochs=1"))
    torch.manual_seed(2)
    second = execute(tiny_config(tmp_path / "second", "task=stsb", "trainer.epochs=1"))
    assert (first.metrics, first.history) == (second.metrics, second.history)
    other = execute(tiny_run("task=stsb", "trainer.epochs=1", "seed=1"))
    assert other.history != first.history


def test_dropout_of_the_backbone_does_not_change_that_of_the_method(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[float]] = {"backbone": set(), "lora": set()}

    def read_dropout(self: Trainer) -> None:
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Dropout):
                found["lora" if "lora_dropout" in name else "backbone"].add(module.p)
        raise KilledError

    monkeypatch.setattr(Trainer, "run", read_dropout)
    with pytest.raises(KilledError):
        execute(tiny_run("method=lora", "method.dropout=0.3", "trainer.dropout=0.05"))
    assert found == {"backbone": {0.05}, "lora": {0.3}}


@pytest.mark.parametrize("method", ["sparse_random", "xpeft_soft"])
def test_a_seed_has_a_mask_or_bank_of_its_own_which_its_tasks_share(
    tiny_run: TinyRun, tmp_path: Path, method: str
) -> None:
    short = (f"method={method}", "trainer.epochs=1", "task.max_train_examples=8")
    for task, seed in (("cola", 0), ("mrpc", 0), ("cola", 1)):
        execute(tiny_run(*short, f"task={task}", f"seed={seed}"))
    stored = [load_file(path) for path in (tmp_path / "results" / "shared").iterdir()]
    assert len(stored) == 2  # of three runs with two seeds
    assert any(not torch.equal(value, stored[1][name]) for name, value in stored[0].items())
