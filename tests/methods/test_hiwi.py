"""HiWi against its formula by hand, and what it stores."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf

from gluelamp.methods.base import Adaptation
from gluelamp.methods.hiwi import HiWi
from gluelamp.methods.storage import count_bytes, load_task_state, provenance, save_task_state
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt, train
from tiny_models import FFN, HIDDEN, LAYERS, batch, logits, same_bits, tiny

BY_HAND = {
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "identity": lambda x: x,
}


def hiwi(**fields: object) -> HiWi:
    return HiWi(**fields)


def trained(method: HiWi) -> Adaptation:
    adaptation = adapt(method, tiny("bert"), seed=0)
    train(adaptation)
    return adaptation


@pytest.mark.parametrize("activation", BY_HAND)
@pytest.mark.parametrize("target", ["bias", "weight"])
def test_the_adapted_parameter_is_the_formula(target: str, activation: str) -> None:
    bare = tiny("bert").double()
    adaptation = hiwi(target=target, activation=activation, scale=0.5).adapt(copy.deepcopy(bare))
    generator = torch.Generator().manual_seed(0)
    values = adaptation.trainable
    for value in values.values():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    layers = {"intermediate.dense": FFN, "output.dense": HIDDEN}
    for name in (f"bert.encoder.layer.1.{layer}.{target}" for layer in layers):
        p, down, up = (
            value.detach().numpy()
            for value in (bare.get_parameter(name), values[f"{name}.down"], values[f"{name}.up"])
        )
        by_hand = p + 0.5 * BY_HAND[activation](p @ down) @ up
        path, _, tensor = name.rpartition(".")
        used = getattr(adaptation.model.get_submodule(path), tensor).detach().numpy()
        np.testing.assert_allclose(used, by_hand, rtol=1e-12, atol=1e-14)


def test_a_task_stores_the_biases_whatever_the_bottleneck() -> None:
    counted = {r: hiwi(bottleneck=r).adapt(tiny("bert")) for r in (1, 4, 16)}
    stored = {r: count_bytes(adaptation)["method"] for r, adaptation in counted.items()}
    assert stored == dict.fromkeys((1, 4, 16), 4 * LAYERS * (HIDDEN + FFN))
    for r, adaptation in counted.items():
        trained_values = sum(value.numel() for value in adaptation.trainable.values())
        assert trained_values == 2 * r * LAYERS * (HIDDEN + FFN)


def test_a_stored_bias_needs_no_adapter(tmp_path: Path) -> None:
    path, source = tmp_path / "task.safetensors", trained(hiwi(bottleneck=4))
    save_task_state(path, source, provenance(source, "a" * 64))
    target = adapt(hiwi(bottleneck=1, activation="tanh"), tiny("bert"), seed=7)
    load_task_state(path, target, provenance(target, "a" * 64))
    assert torch.equal(logits(target.model), logits(source.model))
    assert torch.equal(logits(target.merge()), logits(source.model))


def test_a_loaded_bias_moves_with_the_model() -> None:
    source = trained(hiwi())
    target = adapt(hiwi(), tiny("bert"), seed=7, state=source.task_state())
    model = target.model.double()
    assert logits(model).dtype == torch.float64


def test_a_loaded_bias_is_a_copy_of_the_state() -> None:
    source = trained(hiwi())
    state = {name: value.clone() for name, value in source.task_state().items()}
    target = adapt(hiwi(), tiny("bert"), seed=7, state=state)
    before = logits(target.model)
    for value in state.values():
        value.zero_()
    assert torch.equal(logits(target.model), before)


def test_passes_in_bf16_do_not_round_the_stored_bias() -> None:
    bare, adaptation = tiny("bert"), hiwi().adapt(tiny("bert"))
    trained_values = (adaptation.trainable | adaptation.head).values()
    with MasterWeights(adaptation.model, trained_values, torch.bfloat16).fp32_values():
        stored = adaptation.method_state()
    assert len(stored) == 2 * LAYERS
    for name, value in stored.items():
        assert same_bits(value, bare.get_parameter(name.removesuffix(".adapted"))), name


def test_the_stored_bias_is_the_one_in_use() -> None:
    adaptation = trained(hiwi())
    bias = "bert.encoder.layer.0.intermediate.dense.bias"
    stored = adaptation.task_state()[f"{bias}.adapted"]
    plain = tiny("bert")
    plain.load_state_dict(adaptation.merge().state_dict())
    assert torch.equal(plain.get_parameter(bias), stored)
    assert torch.equal(logits(plain, batch()), logits(adaptation.model, batch()))
