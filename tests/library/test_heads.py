"""Every method on token classification, question answering and bare encoders."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

import gluelamp as gl
from gluelamp.backbones.anatomy import anatomy
from gluelamp.backbones.first_token import first_token_only
from gluelamp.methods.phases import Phase, TrainingPhase, run_phases
from library.heads import HEADS, headed, loss, outputs
from methods.cases import GetMethod, frozen_originals, outline
from methods.conftest import method as method  # noqa: PLC0414 - a fixture
from methods.rows import ONE_OF_EACH, Row
from tiny_models import SHAPES, same_bits

SECOND = "modernbert"
CASES = [
    pytest.param(row, architecture, head, id=f"{config}-{architecture}-{head}")
    for (config, architecture), row in sorted(ONE_OF_EACH.items(), key=lambda item: item[0])
    for head in HEADS
    # Most methods do not support ModernBERT: these are tried on DistilBERT.
    if architecture in ("bert", SECOND if (config, SECOND) in ONE_OF_EACH else "distilbert")
]


def learn(head: str) -> object:
    def run(phase: Phase, adapted: gl.Adaptation) -> Mapping[str, Tensor]:
        if isinstance(phase, TrainingPhase):
            step(adapted, head)
            return {name: value.clone() for name, value in adapted.task_state().items()}
        values = list(adapted.trainable.values())
        # A bare encoder's pooler is a candidate, and the test's loss does not read it.
        gradients = torch.autograd.grad(loss(adapted, head), values, materialize_grads=True)
        return {name: g.square() for name, g in zip(adapted.trainable, gradients, strict=True)}

    return run


def trains_the_head_alone(method: gl.Method) -> bool:
    """Whether the method, or a phase of it, trains nothing but the head."""
    return any(isinstance(one, gl.HeadOnly) for one in (method, *(phase.method for phase in method.phases())))


def step(adapted: gl.Adaptation, head: str) -> None:
    optimizer = adapted.optimizer(1e-2, weight_decay=0.1)
    adapted.model.train()
    for seed in range(2):
        loss(adapted, head, seed).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize(("row", "architecture", "head"), CASES)
def test_a_method_trains_its_own_values_and_is_removed(
    row: Row, architecture: str, head: str, method: GetMethod
) -> None:
    chosen = method(row.config, *row.overrides)
    bare = headed(architecture, head)
    if chosen.needs_classifier or (head == "bare" and trains_the_head_alone(chosen)):
        with pytest.raises(gl.InputError, match="AutoModelForSequenceClassification"):
            chosen.adapt(bare, run_phases(chosen, bare, learn(head)))
        return
    selection = run_phases(chosen, bare, learn(head))
    torch.manual_seed(0)
    adapted = chosen.adapt(copy.deepcopy(bare), selection)
    start = outputs(adapted.model, head)
    if row.starts_as_backbone:
        assert torch.equal(start, outputs(bare, head))
    step(adapted, head)
    trained = outputs(adapted.model, head)
    assert trained.shape == start.shape
    assert not torch.allclose(trained, start, atol=1e-4)
    assert all(value.requires_grad for value in adapted.parameters())

    parts, now = anatomy(bare), frozen_originals(adapted.model)
    own = {name for part in parts.head for name in part.parameter_names()}
    assert own <= set(adapted.head)
    assert own or head == "bare"
    for change in adapted.changes:
        change.restore()
    for name, before in bare.state_dict().items():
        assert name in adapted.head or same_bits(now[name], before), name
    adapted.invalidate()

    if row.merges:
        merged = copy.deepcopy(adapted).merge()
        assert outline(merged) == outline(bare)
        torch.testing.assert_close(outputs(merged, head), trained, atol=1e-5, rtol=0)
    model = adapted.detach()
    assert outline(model) == outline(bare)
    restored = model.state_dict()
    assert all(same_bits(restored[n], v) for n, v in bare.state_dict().items() if n not in adapted.head)


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("head", HEADS)
def test_the_parts_of_every_architecture_are_found(architecture: str, head: str) -> None:
    model = headed(architecture, head)
    parts = anatomy(model)
    names = {name for name, _ in model.named_parameters()}
    outside = {
        name for part in (*parts.head, *filter(None, [parts.pooler])) for name in part.parameter_names()
    }
    assert len(parts.blocks) == 2
    assert set(parts.encoder_parameters) | outside == names
    assert not set(parts.encoder_parameters) & outside
    assert not any("pooler" in name or "classifier" in name for name in parts.encoder_parameters)
    assert bool(parts.head) == (head != "bare")
    with first_token_only(model):  # a head that reads every token must get every token
        shortened = outputs(model, head)
    assert torch.equal(shortened, outputs(model, head))


def test_what_is_not_supported_is_refused_in_a_sentence() -> None:
    config = AutoConfig.for_model(model_type="bert", **SHAPES["bert"])
    with pytest.raises(
        gl.InputError, match="BertForMaskedLM is not supported: its 'cls' has parameters of the"
    ):
        gl.BitFit().adapt(AutoModelForMaskedLM.from_config(config))
    with pytest.raises(gl.InputError, match="Linear is not a model of transformers"):
        gl.BitFit().adapt(nn.Linear(2, 2))
    causal = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_layer=1, n_embd=8, n_head=2))
    with pytest.raises(gl.InputError, match="architecture 'gpt2' is unknown"):
        gl.BitFit().adapt(causal)
