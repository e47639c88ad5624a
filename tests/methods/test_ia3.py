"""(IA)3 against rescaled weights, and against the default of ``peft``."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import IA3Config, get_peft_model

from gluelamp.methods.base import Adaptation
from gluelamp.methods.ia3 import IA3
from methods.test_wiring import randomised
from tiny_models import LAYERS, logits, tiny

BLOCKS = [f"bert.encoder.layer.{layer}" for layer in range(LAYERS)]


def adapted(bare: torch.nn.Module) -> tuple[Adaptation, dict[str, torch.Tensor]]:
    adaptation = randomised(IA3().adapt(copy.deepcopy(bare)))
    vectors = {
        name.removesuffix(".ia3_l.default"): value.detach().flatten()
        for name, value in adaptation.trainable.items()
    }
    return adaptation, vectors


def test_it_rescales_rows_of_key_and_value_with_their_biases_and_columns_of_the_down_projection() -> None:
    bare = tiny("bert").double()
    adaptation, vectors = adapted(bare)
    expected = copy.deepcopy(bare)
    with torch.no_grad():
        for block in BLOCKS:
            for name in (f"{block}.attention.self.key", f"{block}.attention.self.value"):
                linear, scale = expected.get_submodule(name), torch.diag(vectors[name])
                linear.weight.copy_(scale @ linear.weight)
                linear.bias.copy_(scale @ linear.bias)
            down = expected.get_submodule(f"{block}.output.dense")
            down.weight.copy_(down.weight @ torch.diag(vectors[f"{block}.output.dense"]))
    torch.testing.assert_close(logits(adaptation.model), logits(expected), atol=1e-12, rtol=0)
    merged = adaptation.merge().state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(merged[name], value, atol=1e-14, rtol=0)


def test_it_is_pefts_default_without_the_vector_on_the_attentions_output() -> None:
    bare = tiny("bert").double()
    adaptation, vectors = adapted(bare)
    theirs = get_peft_model(copy.deepcopy(bare), IA3Config())
    found = {name: value for name, value in theirs.named_parameters() if ".ia3_l." in name}
    assert len(found) == 4 * LAYERS
    ours = 0
    for name, value in found.items():
        own = vectors.get(name.removeprefix("base_model.model.").partition(".ia3_l.")[0])
        assert (own is None) == ("attention.output" in name)
        value.data = torch.ones_like(value).double() if own is None else own.view_as(value)
        ours += own is not None
    assert ours == len(vectors)
    assert torch.equal(logits(adaptation.model), logits(theirs))


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_one_vector_for_each_of_three_linears_a_layer(architecture: str) -> None:
    widths = {32: 2 * LAYERS, 64: LAYERS}
    values = IA3().adapt(tiny(architecture)).trainable.values()
    assert {width: sum(value.numel() == width for value in values) for width in widths} == widths
    assert all((value == 1).all() for value in values)
