"""The Hadamard adapter against its formula, both merges, and its first stage."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation
from gluelamp.methods.hadamard import Hadamard
from gluelamp.methods.phases import adapt_untrained
from methods.test_wiring import randomised
from tiny_models import HIDDEN, LAYERS, logits, tiny

POSITIONS = ("attention_output", "attention_context")


def hadamard(**fields: object) -> Hadamard:
    return Hadamard(**fields)


def projection(layer: int) -> str:
    return f"bert.encoder.layer.{layer}.attention.output.dense"


def vectors(adaptation: Adaptation, layer: int) -> list[np.ndarray]:
    names = (f"{projection(layer)}.adapter.{tensor}" for tensor in ("weight", "bias"))
    return [adaptation.trainable[name].detach().numpy() for name in names]


@pytest.mark.parametrize("position", POSITIONS)
def test_it_scales_and_shifts_one_side_of_the_output_projection(position: str) -> None:
    adaptation = randomised(adapt_untrained(hadamard(position=position), tiny("bert").double()))
    linear = adaptation.model.get_submodule(projection(1))
    context = torch.randn(2, 5, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = linear(context).numpy()
    c, (w, b) = context.numpy(), vectors(adaptation, 1)
    weight, bias = (value.detach().numpy() for value in (linear.weight, linear.bias))
    if position == "attention_output":
        by_hand = w * (c @ weight.T + bias) + b
    else:
        by_hand = (w * c + b) @ weight.T + bias
    np.testing.assert_allclose(output, by_hand, rtol=0, atol=1e-12)


@pytest.mark.parametrize("position", POSITIONS)
def test_the_output_projection_holds_it_exactly(position: str) -> None:
    adaptation = randomised(adapt_untrained(hadamard(position=position, norm="both"), tiny("bert").double()))
    outputs = logits(adaptation.model)
    of_each = [vectors(adaptation, layer) for layer in range(LAYERS)]
    merged, bare = adaptation.merge(), tiny("bert").double()
    torch.testing.assert_close(logits(merged), outputs, atol=1e-12, rtol=0)
    for layer, (w, b) in enumerate(of_each):
        now, before = (
            [value.detach().numpy() for value in model.get_submodule(projection(layer)).parameters()]
            for model in (merged, bare)
        )
        if position == "attention_output":
            by_hand = np.diag(w) @ before[0], np.diag(w) @ before[1] + b
        else:
            by_hand = before[0] @ np.diag(w), before[1] + before[0] @ b
        for value, expected in zip(now, by_hand, strict=True):
            np.testing.assert_allclose(value, expected, rtol=0, atol=1e-14)


def test_of_chosen_layers_only_those_are_changed() -> None:
    trained = adapt_untrained(hadamard(layers=(1,)), tiny("bert")).trainable
    assert len(trained) == 4
    assert all(name.startswith("bert.encoder.layer.1.attention.output.") for name in trained)


@pytest.mark.parametrize("layers", [(), (0, 2), (-1,)])
def test_missing_layers_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"method\.layers=.* Allowed: one or more of 0 to 1"):
        adapt_untrained(hadamard(layers=layers), tiny("bert"))


def test_the_first_stage_trains_the_head_alone_at_the_heads_rate() -> None:
    (stage,) = hadamard(stage1_epochs=3).phases()
    assert (stage.epochs, stage.learning_rate) == (3, None)
    bare = tiny("bert")
    assert not stage.method.adapt(copy.deepcopy(bare)).trainable
    assert hadamard(stage1_epochs=0).phases() == ()
