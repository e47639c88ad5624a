"""The two types of the task head on every architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gluelamp.backbones.anatomy import ARCHITECTURES, anatomy, output_layer
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.heads import HeadType, LinearHead
from gluelamp.backbones.load import build_from_shape
from gluelamp.errors import UnsupportedError
from gluelamp.methods.head_only import HeadOnly
from tiny_models import HIDDEN, OUTPUTS, backbone, batch, logits, tiny

LINEAR = sorted(name for name, entry in ARCHITECTURES.items() if entry.make_linear)
LAYER = HIDDEN * OUTPUTS + OUTPUTS
DENSE = HIDDEN * HIDDEN + HIDDEN  # ModernBERT's has the scales of a norm in place of biases


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_layer_of_a_two_layer_head_is_trained(architecture: str) -> None:
    adaptation = HeadOnly().adapt(tiny(architecture))
    assert sum(value.numel() for value in adaptation.head.values()) == LAYER + DENSE
    assert anatomy(adaptation.model).pooler is None


@pytest.mark.parametrize("architecture", LINEAR)
def test_a_linear_head_is_one_layer(architecture: str) -> None:
    model = tiny(architecture, "linear")
    adaptation = HeadOnly().adapt(model)
    layer = output_layer(model)
    assert isinstance(layer, LinearHead)
    assert sum(value.numel() for value in adaptation.head.values()) == LAYER
    assert {id(value) for value in model.parameters() if value.requires_grad} == {
        id(layer.weight),
        id(layer.bias),
    }


@pytest.mark.parametrize("architecture", LINEAR)
def test_a_seed_gives_the_same_output_layer_with_both_heads(architecture: str) -> None:
    def initial(head: HeadType) -> torch.Tensor:
        torch.manual_seed(0)
        return output_layer(build_from_shape(backbone(architecture), OUTPUTS, ATTENTION, head)).weight

    assert torch.equal(initial("linear"), initial("two_layer"))


@pytest.mark.parametrize("architecture", LINEAR)
def test_a_linear_head_reads_the_frozen_pooler_or_the_first_token(architecture: str) -> None:
    model, inputs = tiny(architecture, "linear"), batch()
    layer = output_layer(model)
    with torch.no_grad():
        encoded = model.base_model(**inputs)
        read = encoded.last_hidden_state[:, 0]
        if architecture == "bert":
            read = encoded.pooler_output
        if architecture == "modernbert":
            read = model.head(read)
        expected = nn.functional.linear(read, layer.weight, layer.bias)
    assert torch.allclose(logits(model), expected, atol=1e-6)


def test_an_architecture_without_a_linear_head_is_refused() -> None:
    assert set(ARCHITECTURES) - set(LINEAR) == {"distilbert"}
    with pytest.raises(UnsupportedError, match=r"head=linear is not available.*'distilbert'.*head=two_layer"):
        tiny("distilbert", "linear")
