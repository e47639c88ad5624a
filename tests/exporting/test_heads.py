"""Models with other heads, and bare encoders: the other library computes the same outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from peft import PeftModel

from gluelamp.errors import InputError
from gluelamp.exporting import export, prepare
from gluelamp.exporting.base import Origin
from library.heads import HEADS, headed, loss, outputs
from methods.cases import GetMethod

TOLERANCE = 3e-6  # of hidden states of size up to four: fp32 rounds another order of operations differently
TASK_TYPES = {"tokens": "TOKEN_CLS", "question": "QUESTION_ANS", "bare": "FEATURE_EXTRACTION"}


@pytest.mark.parametrize("config", ["lora", "hiwi", "layer_norm"])
@pytest.mark.parametrize("head", HEADS)
def test_the_other_library_computes_the_same_outputs(
    method: GetMethod, tmp_path: Path, head: str, config: str
) -> None:
    adapted = method(config).adapt(headed("bert", head))
    optimizer = adapted.optimizer(0.01)
    loss(adapted, head).backward()
    optimizer.step()
    expected = outputs(adapted.model, head)
    origin = Origin("org/base")
    merged, adapter = (export(adapted, tmp_path / name, name, origin=origin) for name in ("merged", "peft"))
    loaded = PeftModel.from_pretrained(headed("bert", head), adapter)
    assert (outputs(loaded, head) - expected).abs().max() <= TOLERANCE
    loaded = HEADS[head].from_pretrained(merged)
    assert (outputs(loaded, head) - expected).abs().max() <= TOLERANCE
    written = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    assert written["task_type"] == TASK_TYPES[head]
    assert f"import {HEADS[head].__name__}\n" in ModelCard.load(adapter / "README.md").text


def test_a_model_without_a_text_classifier_is_refused_for_the_adapters_library(method: GetMethod) -> None:
    with pytest.raises(InputError, match="heads of text classification are exported"):
        prepare(method("pfeiffer").adapt(headed("bert", "tokens")), "adapters")
