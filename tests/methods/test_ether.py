"""ETHER and ETHER+ against explicit block-diagonal matrices in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import block_diag
from torch import Tensor, nn
from torch.nn import functional

from gluelamp.backbones.load import BackboneConfig
from gluelamp.errors import InputError
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.parameters import count_values
from gluelamp.methods.base import Adaptation
from gluelamp.methods.ether import Ether
from gluelamp.training.precision import MasterWeights
from methods.cases import GetMethod
from tiny_models import FFN, HIDDEN, batch, logits, same_bits, tiny

UP = "bert.encoder.layer.1.intermediate.dense"

every_kind = pytest.mark.parametrize(
    "kind",
    [
        {"transform": transform, "sides": sides, "blocks": blocks}
        for transform in ("reflection", "relaxed")
        for sides in ("input", "both")
        for blocks in (1, 4)
    ],
    ids=lambda kind: "-".join(map(str, kind.values())),
)


def ether(**fields: Any) -> Ether:
    return Ether(**fields)


def randomised(method: Ether, model: nn.Module) -> Adaptation:
    """Adapt a float64 copy, with vectors of ordinary and unequal sizes."""
    adaptation = method.adapt(copy.deepcopy(model).double())
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = 3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return adaptation


def block_matrix(values: dict[str, np.ndarray], side: str) -> np.ndarray:
    """Return H of one side of a layer from its vectors, or 1 if that side is left alone."""

    def projection(vector: np.ndarray) -> np.ndarray:
        return np.outer(vector, vector) / (vector @ vector)

    if f"{side}.u" not in values:
        return np.ones((1, 1))
    blocks = []
    for i, u in enumerate(values[f"{side}.u"]):
        v = values[f"{side}.v"][i] if f"{side}.v" in values else None
        moved = projection(u) if v is None else -projection(v)
        blocks.append(np.eye(len(u)) - projection(u) - moved)
    return block_diag(*blocks)


def weight_by_hand(adaptation: Adaptation, path: str, weight: Tensor) -> np.ndarray:
    values = {
        name.removeprefix(f"{path}.adapter.").removesuffix(".vectors"): value.detach().numpy()
        for name, value in adaptation.trainable.items()
        if name.startswith(f"{path}.adapter.")
    }
    after, before = block_matrix(values, "output"), block_matrix(values, "input")
    reflected = weight.numpy() @ before
    return after @ reflected if len(after) > 1 else reflected


@every_kind
def test_a_layer_has_the_weight_between_block_diagonal_matrices(kind: dict[str, Any]) -> None:
    bare = tiny("bert").double()
    adaptation = randomised(ether(**kind), bare)
    layer = adaptation.model.get_submodule(UP)
    x = torch.randn(2, 5, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = weight_by_hand(adaptation, UP, bare.get_parameter(f"{UP}.weight").detach())
    bias = bare.get_parameter(f"{UP}.bias").detach().numpy()
    with torch.no_grad():
        np.testing.assert_allclose(layer(x).numpy(), x.numpy() @ weight.T + bias, rtol=0, atol=1e-12)


@every_kind
def test_merging_writes_those_weights_and_no_bias(kind: dict[str, Any]) -> None:
    bare = tiny("bert").double()
    adaptation = randomised(ether(**kind), bare)
    by_hand = {
        f"{path}.weight": weight_by_hand(adaptation, path, bare.get_parameter(f"{path}.weight").detach())
        for path in {name.partition(".adapter.")[0] for name in adaptation.trainable}
    }
    assert len(by_hand) == 2 * 6
    before = logits(adaptation.model)
    merged = adaptation.merge()
    torch.testing.assert_close(logits(merged), before, rtol=0, atol=1e-12)
    for name, value in bare.state_dict().items():
        now = merged.state_dict()[name]
        if name in by_hand:
            np.testing.assert_allclose(now.numpy(), by_hand[name], rtol=0, atol=1e-13)
        elif name not in adaptation.head:
            assert same_bits(now, value), name


@every_kind
def test_gradients_are_those_of_the_product_of_matrices(kind: dict[str, Any]) -> None:
    adaptation = randomised(ether(**kind, targets=("up",)), tiny("bert"))
    layer = adaptation.model.get_submodule(UP)
    values = {name: value for name, value in adaptation.trainable.items() if name.startswith(UP)}
    x = torch.randn(7, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(layer(x).square().sum(), list(values.values()))

    def matrix(side: str, width: int) -> Tensor:
        u, *v = (value for name, value in values.items() if f".{side}." in name)
        if kind["transform"] == "reflection":
            return torch.block_diag(*(torch.eye(len(a)) - 2 * torch.outer(a, a) / (a @ a) for a in u))
        pairs = zip(u, v[0], strict=True)
        h = [torch.eye(len(a)) - torch.outer(a, a) / (a @ a) + torch.outer(b, b) / (b @ b) for a, b in pairs]
        return torch.block_diag(*h)

    weight = layer.weight @ matrix("input", HIDDEN)
    weight = weight if kind["sides"] == "input" else matrix("output", FFN) @ weight
    expected = torch.autograd.grad(
        functional.linear(x, weight, layer.bias).square().sum(), list(values.values())
    )
    for gradient, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("blocks", [1, 4])
def test_each_block_of_ether_is_two_away_from_the_identity(blocks: int) -> None:
    bare = tiny("bert")
    with torch.no_grad():
        bare.get_submodule(UP).weight.copy_(torch.eye(FFN, HIDDEN))
    merged = ether(blocks=blocks).adapt(bare).merge()
    distance = torch.linalg.norm(merged.get_submodule(UP).weight - torch.eye(FFN, HIDDEN))
    assert distance.item() == pytest.approx(2 * blocks**0.5, abs=1e-5)


def test_the_length_of_the_vectors_does_not_matter() -> None:
    adaptation = randomised(ether(transform="relaxed", sides="both"), tiny("bert"))
    before = logits(adaptation.model)
    for factor, value in enumerate(adaptation.trainable.values(), start=1):
        value.data *= factor
    torch.testing.assert_close(logits(adaptation.model), before, rtol=0, atol=1e-12)


def test_dropout_acts_on_the_input_of_the_whole_layer() -> None:
    adaptation = randomised(ether(dropout=0.5), tiny("bert"))
    layer = adaptation.model.get_submodule(UP)
    bare = tiny("bert").double()
    weight = weight_by_hand(adaptation, UP, bare.get_parameter(f"{UP}.weight").detach())
    x = torch.randn(3, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(5)
    with torch.no_grad():
        output = layer.train()(x)
    torch.manual_seed(5)
    dropped = functional.dropout(x, 0.5)
    by_hand = functional.linear(dropped, torch.from_numpy(weight), bare.get_parameter(f"{UP}.bias").detach())
    torch.testing.assert_close(output, by_hand, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "width"),
    [({"blocks": 5}, HIDDEN), ({"blocks": FFN, "targets": ("down",), "sides": "both"}, HIDDEN)],
    ids=["input", "output"],
)
def test_blocks_that_do_not_divide_a_width_are_refused(fields: dict[str, Any], width: int) -> None:
    model = tiny("bert")
    with pytest.raises(InputError, match=rf"method.blocks={fields['blocks']} does not divide {width}"):
        ether(**fields).adapt(model)
    assert model.state_dict().keys() == tiny("bert").state_dict().keys()
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_blocks_need_not_divide_a_side_that_is_left_alone() -> None:
    adaptation = ether(blocks=FFN, targets=("down",)).adapt(tiny("bert"))
    assert {value.shape for value in adaptation.trainable.values()} == {(FFN, 1)}


@pytest.mark.parametrize("leave", [Adaptation.merge, Adaptation.detach])
def test_it_removes_every_hook(leave: Callable[[Adaptation], nn.Module]) -> None:
    adaptation = ether(sides="both").adapt(tiny("bert"))
    assert any(module._forward_pre_hooks for module in adaptation.model.modules())
    model = leave(adaptation)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_vectors_stay_in_fp32_under_bf16() -> None:
    adaptation = ether(transform="relaxed", sides="both").adapt(tiny("bert"))
    exact = logits(adaptation.model)
    MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    assert {value.dtype for value in adaptation.trainable.values()} == {torch.float32}
    assert adaptation.model.get_parameter(f"{UP}.weight").dtype == torch.bfloat16
    bare = tiny("bert")
    MasterWeights(bare, [], torch.bfloat16)
    assert torch.equal(logits(adaptation.model), logits(bare))
    torch.testing.assert_close(logits(adaptation.model), exact, rtol=0.1, atol=0.1)
    adaptation.model.train()(**batch()).logits.sum().backward()
    assert all(value.grad is not None for value in adaptation.trainable.values())


@pytest.mark.parametrize(("method_name", "count"), [("ether", 41_472), ("ether_plus", 165_888)])
def test_the_twelve_layer_minilm_trains_the_values_of_the_formula(
    method_name: str, count: int, method: GetMethod, compose: Callable[..., dict[str, Any]]
) -> None:
    backbone = BackboneConfig(**compose("backbone=minilm", "backbone.shape.num_hidden_layers=12")["backbone"])
    assert count_values(MeasuredModel(backbone, method(method_name)))["trained"] == count
