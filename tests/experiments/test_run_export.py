"""An exported run has the outputs of the run, without gluelamp."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, constants
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.export import ExportConfig, export_run
from gluelamp.experiments.finished import load_trained
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.records import read_record

TEXTS = ["The painter sold film 1.", "The town was in the park."]


@pytest.mark.parametrize(("method", "task"), [("pafi", "cola"), ("hiwi", "stsb")])
def test_the_merged_model_gives_the_outputs_of_the_run(
    tiny_run: Callable[..., RunConfig], tmp_path: Path, method: str, task: str
) -> None:
    config = tiny_run(f"method={method}", f"task={task}", "trainer.epochs=1")
    execute(config)
    folder = export_run(config, ExportConfig(destination=str(tmp_path / "merged")))
    merged = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert type(merged).__module__.startswith("transformers.")
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = merged(**inputs).logits
        expected = load_trained(plan_run(config), "best", "sdpa").model(**inputs).logits
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)
    labels = ["unacceptable", "acceptable"] if task == "cola" else ["LABEL_0"]
    assert list(merged.config.id2label.values()) == labels


def test_a_run_as_an_adapter_of_peft_gives_the_outputs_of_the_run(
    tiny_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = tiny_run("method=hiwi", "task=cola", "trainer.epochs=1")
    execute(config)
    folder = export_run(config, ExportConfig(format="peft", destination=str(tmp_path / "adapter")))
    # the backbone is named in the files
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        outputs = loaded(**inputs).logits
        expected = load_trained(plan_run(config), "best", "sdpa").model(**inputs).logits
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-6)


def test_the_card_has_the_score_of_the_run(finished_run: RunConfig, tmp_path: Path) -> None:
    record = read_record(plan_run(finished_run).folder / "record.json")
    for selection, source in (("best", "held_out"), ("last", "last")):
        choice = ExportConfig(destination=str(tmp_path / selection), selection=selection)
        card = ModelCard.load(export_run(finished_run, choice) / "README.md")
        (result,) = card.data.eval_results
        assert result.metric_type == record.main_metric
        assert result.metric_value == pytest.approx(record.metrics[source][record.main_metric])
        assert f"|selection:{source}|" in card.text
        assert "bundled synthetic sample" in card.text


def test_a_run_is_uploaded_only_with_a_token(
    finished_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="needs a token"):
        export_run(finished_run, ExportConfig(destination=str(tmp_path / "new"), push="org/name"))
    assert not (tmp_path / "new").exists()


def test_a_run_that_cannot_be_exported_is_refused(tiny_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = tiny_run("method=pfeiffer", "task=cola", "trainer.epochs=1")
    choice = ExportConfig(destination=str(tmp_path / "merged"))
    with pytest.raises(InputError, match="cannot be merged"):  # before the run is trained in vain
        export_run(config, choice)
    config = tiny_run("method=lora", "task=cola", "trainer.epochs=1")
    with pytest.raises(InputError, match=r"is not complete\. Train it"):
        export_run(config, choice)
    execute(config)
    assert not (tmp_path / "merged").exists()
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine.txt").touch()
    with pytest.raises(InputError, match=r"holds files\. Take another destination"):
        export_run(config, choice)
    (plan_run(config).folder / "last.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no last\.safetensors"):
        export_run(config, ExportConfig(destination=str(tmp_path / "new"), selection="last"))
