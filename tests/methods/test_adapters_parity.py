"""Adapters against those of the ``adapters`` library: the same values, outputs and gradients.

The library's side is stored in ``tests/fixtures/parity``; ``make.py`` there says how it was made.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.methods.base import Adaptation
from gluelamp.methods.changes.inserted import Bottleneck, InsertedModule, between_norms
from methods.cases import GetMethod

FIXTURES = Path(__file__).parents[1] / "fixtures" / "parity"


@dataclass(frozen=True)
class Pass:
    """Last hidden states, and the gradient of their product with the probe for each value."""

    outputs: Tensor
    gradients: dict[str, Tensor]


@cache
def stored(name: str) -> dict[str, Tensor]:
    with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping


def part(name: str, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a file whose names begin with a prefix, by the rest of their names."""
    return {key.removeprefix(prefix): value for key, value in stored(name).items() if key.startswith(prefix)}


def backbone() -> PreTrainedModel:
    """Return the library's encoder in float64, under a head that no test reads."""
    with safe_open(FIXTURES / "backbone.safetensors", "pt") as file:
        shape = json.loads(file.metadata()["made_by"])["config"]
    config = BackboneConfig(name="parity", shape={"model_type": "bert", **shape})
    model = build_from_shape(config, 2, ATTENTION).double().eval()
    missing, unexpected = model.bert.load_state_dict(part("backbone", "backbone."), strict=False)
    assert not unexpected
    assert all(name.startswith("pooler.") for name in missing)
    return model


def neutral(name: str) -> str:
    """Return such a name as ``0.attention.down.weight``: layer, branch, projection, value."""
    path, _, value = name.partition(".adapter.")
    if value == "rule":
        return value
    layer = re.search(r"\.layer\.(\d+)\.", path)[1]
    branch = "attention" if ".attention." in path else "ffn"
    return f"{layer}.{branch}.{value}"


def ours(adaptation: Adaptation, name: str) -> Pass:
    """Run our adapters with the library's values and batch."""
    values = {neutral(key): value for key, value in adaptation.trainable.items()}
    theirs = part(name, "value.")
    assert values.keys() == theirs.keys()
    adaptation.model.double().eval()
    for key, value in values.items():
        assert value.shape == theirs[key].shape
        value.data.copy_(theirs[key])
    inputs = {key: stored("backbone")[key] for key in ("input_ids", "attention_mask")}
    outputs = adaptation.model.bert(**inputs).last_hidden_state
    product = (outputs * stored("backbone")["probe"]).sum()
    gradients = torch.autograd.grad(product, list(values.values()))
    return Pass(outputs.detach(), dict(zip(values, gradients, strict=True)))


def library(name: str) -> Pass:
    return Pass(stored(name)["outputs"], part(name, "gradient."))


def assert_same(one: Pass, other: Pass) -> None:
    torch.testing.assert_close(one.outputs, other.outputs, atol=1e-12, rtol=0)
    for name, gradient in other.gradients.items():  # of size 1 to 100
        torch.testing.assert_close(one.gradients[name], gradient, atol=1e-11, rtol=1e-12, msg=name)


# Leaf and overrides for what the library computes. Its own LayerNorms stay frozen.
EQUAL = {
    "houlsby": ("houlsby", "bottleneck=4", "train_layer_norm=false"),
    "pfeiffer": ("pfeiffer", "reduction_factor=4"),
    "parallel": ("parallel", "bottleneck=4", "scale=4.0"),
    "compacter": ("compacter", "reduction_factor=3"),
    "compacter_plus": ("compacter_plus", "reduction_factor=3"),
}


@pytest.mark.parametrize("name", EQUAL)
def test_outputs_and_gradients_are_those_of_the_library(name: str, method: GetMethod) -> None:
    assert_same(ours(method(*EQUAL[name]).adapt(backbone()), name), library(name))


def test_the_librarys_default_houlsby_adapter_has_swish_where_the_paper_has_gelu(method: GetMethod) -> None:
    adaptation = method(*EQUAL["houlsby"]).adapt(backbone())
    theirs = library("houlsby_default")
    assert (ours(adaptation, "houlsby_default").outputs - theirs.outputs).abs().max() > 0.01
    for module in adaptation.model.modules():
        if isinstance(module, Bottleneck):
            module.activation = nn.SiLU()
    assert_same(ours(adaptation, "houlsby_default"), theirs)


def test_the_librarys_default_compacter_plus_is_wired_as_a_pfeiffer_adapter(method: GetMethod) -> None:
    adaptation = method(*EQUAL["compacter_plus"]).adapt(backbone())
    theirs = library("compacter_plus_default")
    assert (ours(adaptation, "compacter_plus_default").outputs - theirs.outputs).abs().max() > 0.01
    for block, change in zip(anatomy(adaptation.model).blocks, adaptation.changes, strict=True):
        change.detach()
        InsertedModule(block["ffn.norm"], change.module, between_norms(change.module))
    assert_same(ours(adaptation, "compacter_plus_default"), theirs)
