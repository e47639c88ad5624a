"""An export has the settings of the run's task, not those of the checkpoint that the run started from."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    pipeline,
)

from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.export import ExportConfig, export_run
from gluelamp.experiments.finished import load_trained
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.exporting import Format

TEXTS = ["The painter sold film 1.", "The town was in the park."]
PROBLEMS = {"cola": "regression", "stsb": "single_label_classification"}  # of the checkpoint: the wrong one
RIGHT = {"cola": "single_label_classification", "stsb": "regression"}
LABELS = {"cola": {0: "unacceptable", 1: "acceptable"}, "stsb": {0: "LABEL_0"}}
FORMATS: dict[Format, str] = {"merged": "hiwi", "peft": "hiwi", "adapters": "houlsby"}


@pytest.fixture
def fine_tuned(tiny_backbone: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Write a checkpoint that was fine-tuned on three classes of another task, and saved in bf16."""

    def write(task: str) -> Path:
        folder = shutil.copytree(tiny_backbone, tmp_path / "fine-tuned")
        config = AutoConfig.from_pretrained(
            tiny_backbone,
            id2label={0: "low", 1: "middle", 2: "high"},
            problem_type=PROBLEMS[task],
            task_specific_params={"other": {}},
            custom_pipelines={"other": {"impl": "code.Other", "pt": ["AutoModel"]}},
        )
        model = BertForSequenceClassification.from_pretrained(tiny_backbone, config=config)
        model.to(torch.bfloat16).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def exported(
    fine_tuned: Callable[[str], Path], tiny_run: Callable[..., RunConfig], tmp_path: Path
) -> Callable[[str, Format], tuple[RunConfig, Path]]:
    def run(task: str, format: Format) -> tuple[RunConfig, Path]:
        config = tiny_run(
            f"method={FORMATS[format]}", f"task={task}", "trainer.epochs=1", "trainer.dropout=0.25",
            f"backbone.path={fine_tuned(task)}",
        )  # fmt: skip
        execute(config)
        return config, export_run(config, ExportConfig(format=format, destination=str(tmp_path / "out")))

    return run


def check_settings(config: Any, task: str) -> None:
    assert config.problem_type == RIGHT[task]
    assert config.id2label == LABELS[task]
    assert config.label2id == {name: number for number, name in LABELS[task].items()}
    assert config.num_labels == len(LABELS[task])
    assert not hasattr(config, "task_specific_params")
    assert not hasattr(config, "custom_pipelines")


def check_pipeline(model: Any, config: RunConfig, folder: Path, task: str) -> None:
    """Compare what a user reads from the pipeline with the outputs of the run."""
    classify = pipeline("text-classification", model=model, tokenizer=str(folder))
    results = classify(TEXTS, top_k=None)
    trained = load_trained(plan_run(config), "best", "sdpa").model
    with torch.no_grad():
        logits = trained(**classify.tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
    expected = logits if task == "stsb" else logits.softmax(-1)
    for result, row in zip(results, expected, strict=True):
        found = {entry["label"]: entry["score"] for entry in result}
        assert list(found) == sorted(found, key=lambda label: -found[label])
        assert [found[label] for label in LABELS[task].values()] == pytest.approx(row.tolist(), abs=1e-5)


@pytest.mark.parametrize("task", PROBLEMS)
def test_a_merged_model_has_the_settings_of_the_task(
    exported: Callable[..., tuple[RunConfig, Path]], task: str
) -> None:
    run, folder = exported(task, "merged")
    config = AutoConfig.from_pretrained(folder)
    check_settings(config, task)
    assert config.architectures == ["BertForSequenceClassification"]
    assert config.dtype == torch.float32
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.25, 0.25)
    check_pipeline(str(folder), run, folder, task)
    labels = torch.tensor([1.0, 0.0]) if task == "stsb" else torch.tensor([1, 0])
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert loaded(torch.tensor([[1], [2]]), labels=labels).loss.isfinite()


@pytest.mark.parametrize("task", PROBLEMS)
def test_the_code_of_the_card_loads_an_adapter_of_peft_with_the_settings_of_the_task(
    exported: Callable[..., tuple[RunConfig, Path]], monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    run, folder = exported(task, "peft")
    code = re.search(r"```python\n(.*?)```", ModelCard.load(folder / "README.md").text, re.DOTALL)
    assert code
    monkeypatch.chdir(folder.parent)
    names: dict[str, Any] = {}
    exec(code[1], names)
    check_settings(names["model"].config, task)
    check_pipeline(names["model"], run, folder, task)


@pytest.mark.parametrize("task", PROBLEMS)
def test_an_adapter_of_adapterhub_has_the_settings_of_the_task(
    exported: Callable[..., tuple[RunConfig, Path]], task: str
) -> None:
    _, folder = exported(task, "adapters")
    check_settings(AutoConfig.from_pretrained(folder / "backbone"), task)
    head = json.loads((folder / "head_config.json").read_text())["config"]
    assert head["num_labels"] == len(LABELS[task])
    assert head["label2id"] == ({"unacceptable": 0, "acceptable": 1} if task == "cola" else None)


@pytest.mark.parametrize("task", PROBLEMS)
def test_save_pretrained_of_a_finished_run_has_the_settings_of_the_task(
    exported: Callable[..., tuple[RunConfig, Path]], tmp_path: Path, task: str
) -> None:
    run, folder = exported(task, "merged")
    adaptation = load_trained(plan_run(run), "best", "sdpa")
    adaptation.save_pretrained(tmp_path / "saved")
    check_settings(AutoConfig.from_pretrained(tmp_path / "saved"), task)
    check_pipeline(str(tmp_path / "saved"), run, folder, task)
