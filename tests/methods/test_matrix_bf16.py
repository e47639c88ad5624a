"""Every method with passes in bf16: frozen values, stored values, and outputs from a stored state."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gluelamp.backbones.dropout import install_dropout
from gluelamp.measurement.structure import trace_operators
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phases import run_phases
from gluelamp.training import precision
from gluelamp.training.precision import MasterWeights
from methods.cases import GetMethod, adapt, frozen_originals, labels, learn, logits_of
from methods.rows import ONE_OF_EACH
from tiny_models import batch, logits, same_bits, tiny

# A post-LN, a relative-position and a pre-LN encoder; the others have the same kinds of modules and buffers.
THREE = ("bert", "deberta-v2", "modernbert")
CELLS = [
    (row, architecture)
    for (config, architecture), row in ONE_OF_EACH.items()
    if architecture in THREE or config in ("full", "lora")
]
STEPS = 2
PRODUCT = re.compile("mm[.]|scaled_dot_product|[.]dot[.]|[.]mv[.]")

matrix = pytest.mark.parametrize("half", CELLS, ids=[f"{r}-{a}" for r, a in CELLS], indirect=True)


@dataclass
class Half:
    """An adaptation trained in bf16.

    Args:
        adaptation: in bf16, its masters in fp32.
        outputs: of it.
        state: what the task stores.
        again: fresh adaptations of the bare fp32 model that hold ``state``.
    """

    adaptation: Adaptation
    outputs: Tensor
    state: dict[str, Tensor]
    again: tuple[Adaptation, Adaptation]


@pytest.fixture(scope="module")
def half(request: pytest.FixtureRequest, method: GetMethod) -> Half:
    row, architecture = request.param
    spec, bare = method(row.config, *row.overrides), tiny(architecture)
    selection = run_phases(spec, bare, learn)
    adaptation = adapt(spec, copy.deepcopy(bare), seed=0, selection=selection)
    weights = train(adaptation)
    with weights.fp32_values():
        state = {name: value.clone() for name, value in adaptation.task_state().items()}
    again = (adapt(spec, copy.deepcopy(bare), seed, selection, state) for seed in (1, 2))
    return Half(adaptation, logits(adaptation.model), state, tuple(again))


def train(adaptation: Adaptation) -> MasterWeights:
    """Train as the trainer does: passes in bf16, steps in fp32."""
    torch.manual_seed(0)
    install_dropout(adaptation.model, 0)
    weights = in_bf16(adaptation)
    optimizer = torch.optim.AdamW(weights.masters, lr=0.01, weight_decay=0.1)
    adaptation.model.train()
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        forward = partial(in_fp32, adaptation, batch(step))
        adaptation.objective(forward, partial(functional.cross_entropy, target=labels())).backward()
        weights.gather_gradients()
        optimizer.step()
        weights.sync()
    return weights


def in_bf16(adaptation: Adaptation) -> MasterWeights:
    trained = adaptation.trainable | adaptation.head
    return MasterWeights(adaptation.model, trained.values(), torch.bfloat16)


def in_fp32(adaptation: Adaptation, inputs: dict[str, Tensor]) -> Tensor:
    return logits_of(adaptation.model, inputs).float()


@matrix
def test_the_stored_state_gives_the_outputs_in_bf16_again(half: Half) -> None:
    again, _ = half.again
    in_bf16(again)
    outputs = logits(again.model)
    # What is made of the trained values (HiWi's bias, a network's prefix) is stored as made in fp32.
    stores_what_it_trains = half.adaptation.trainable.keys() <= half.state.keys()
    limit = 0.0 if stores_what_it_trains else 0.02 * half.outputs.abs().max().item()
    torch.testing.assert_close(outputs, half.outputs, atol=limit, rtol=0)


@matrix
def test_the_passes_stay_near_those_in_fp32(half: Half) -> None:
    _, exact = half.again
    scale = logits(exact.model).abs().max()
    assert (half.outputs.float() - logits(exact.model)).abs().max() < 0.1 * scale


@matrix
def test_without_bf16_instructions_every_product_is_taken_in_fp32(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: False)
    with precision.matmul_context(torch.bfloat16, torch.device("cpu")):
        outputs = logits(half.adaptation.model)
        operators = trace_operators(half.adaptation.model, batch())
    taken = {layout.dtype for call in operators if PRODUCT.search(call.name) for layout in call.outputs}
    assert taken == {torch.float32}
    # sums in another order round some values the other way, which grows from block to block
    assert (outputs - half.outputs).abs().max() < 0.05 * half.outputs.abs().max()


@matrix
def test_the_stored_values_are_fp32(half: Half) -> None:
    floats = [value for value in half.state.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float32}
    assert any(not same_bits(value, value.bfloat16().float()) for value in floats)  # not rounded ones


@matrix
def test_training_moves_nothing_else(half: Half, request: pytest.FixtureRequest) -> None:
    now, held = frozen_originals(half.adaptation.model), half.adaptation.head
    places = half.adaptation.shared_state() | half.adaptation.selection
    bare = tiny(request.node.callspec.params["half"][1]).bfloat16()
    for name, before in bare.state_dict().items():
        if name in held:
            continue
        frozen = torch.ones(before.numel(), dtype=torch.bool)
        frozen[places.get(f"{name}.positions", torch.empty(0)).long()] = False
        assert same_bits(now[name].bfloat16().flatten()[frozen], before.flatten()[frozen]), name
