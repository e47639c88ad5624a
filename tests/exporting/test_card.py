"""The model card has the metadata that the hub reads, and the code that loads the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from gluelamp.exporting import FORMATS, export
from gluelamp.exporting.base import Origin
from gluelamp.exporting.card import Evaluation
from methods.cases import GetMethod
from tiny_models import tiny

ORIGIN = Origin("org/base", revision="abc", labels=("no", "yes", "maybe"))
EVALUATION = Evaluation(
    task="cola",
    data="local data",
    metric="matthews_correlation",
    value=0.1234567,
    interval=(0.05, 0.2),
    selection="best epoch",
    split="validation",
    dataset="nyu-mll/glue",
    signature="task:cola|metric:matthews_correlation",
    notes=("Validation has 10 rows.",),
)
LIBRARIES = {"merged": "transformers", "peft": "peft", "adapters": "adapter-transformers"}
METHOD = {"merged": "hiwi", "peft": "hiwi", "adapters": "pfeiffer"}


@pytest.mark.parametrize("format", FORMATS)
def test_the_metadata_hold_origin_and_score(method: GetMethod, tmp_path: Path, format: str) -> None:
    adaptation = method(METHOD[format]).adapt(tiny("bert"))
    folder = export(adaptation, tmp_path / "mine", format, origin=ORIGIN, evaluation=EVALUATION)
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "org/base"
    assert card.data.library_name == LIBRARIES[format]
    assert card.data.datasets == ["nyu-mll/glue"]
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("matthews_correlation", 0.1234567)
    assert (result.dataset_type, result.dataset_config) == ("nyu-mll/glue", "cola")
    assert result.dataset_split == "validation"
    for words in ("0.1235", "0.0500 to 0.2000", EVALUATION.signature, EVALUATION.notes[0], "1 = yes"):
        assert words in card.text


def test_the_method_is_described_with_its_paper_and_options(method: GetMethod, tmp_path: Path) -> None:
    folder = export(method("lora", "rank=2").adapt(tiny("bert")), tmp_path / "mine", "peft", origin=ORIGIN)
    text = ModelCard.load(folder / "README.md").text
    assert "LoRA (Hu et al., ICLR 2022, arXiv 2106.09685) with `rank=2`, `alpha=16`" in text
    assert '.from_pretrained(\n    "org/base",\n    num_labels=3,\n' in text
    assert "    label2id={'LABEL_0': 0, 'LABEL_1': 1, 'LABEL_2': 2},\n    dtype='float32',\n" in text


def test_a_folder_is_no_base_model_on_the_hub(method: GetMethod, tmp_path: Path) -> None:
    origin = Origin(str(tmp_path))
    folder = export(method("lora").adapt(tiny("bert")), tmp_path / "mine", "peft", origin=origin)
    assert ModelCard.load(folder / "README.md").data.base_model is None
