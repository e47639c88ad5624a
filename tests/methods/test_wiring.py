"""LoRA and the adapters against one BERT layer written out in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor

from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.houlsby import Houlsby
from gluelamp.methods.lora import LoRA
from gluelamp.methods.pfeiffer import Pfeiffer
from tiny_models import HEADS, HIDDEN, logits, tiny

Array = np.ndarray
Adapt = Callable[[Array], Array]
LAYER = "bert.encoder.layer.0"


def gelu(x: Array) -> Array:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


class Layer:
    """A BERT layer and its parts, in numpy, from the values of an adapted model."""

    def __init__(self, adaptation: Adaptation) -> None:
        self.values = {
            name.removeprefix(f"{LAYER}."): value.numpy()
            for name, value in adaptation.model.state_dict().items()
            if name.startswith(LAYER)
        }

    def linear(self, path: str, x: Array) -> Array:
        return x @ self.values[f"{path}.weight"].T + self.values[f"{path}.bias"]

    def norm(self, path: str, x: Array) -> Array:
        gain, shift = (self.tensor(f"{path}.{name}") for name in ("weight", "bias"))
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * gain + shift

    def tensor(self, name: str) -> Array:
        """Return a tensor, or the one that is trained in its place."""
        path, _, tensor = name.rpartition(".")
        return self.values.get(name, self.values.get(f"{path}.parametrizations.{tensor}.0.values"))

    def adapter(self, path: str, activation: Adapt, x: Array) -> Array:
        return self.linear(f"{path}.adapter.up", activation(self.linear(f"{path}.adapter.down", x)))

    def attention(self, x: Array) -> Array:
        def heads(path: str) -> Array:
            split = self.linear(f"attention.self.{path}", x).reshape(*x.shape[:2], HEADS, -1)
            return split.transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(HIDDEN // HEADS)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return self.linear("attention.output.dense", (weights @ value).transpose(0, 2, 1, 3).reshape(x.shape))

    def feed_forward(self, x: Array) -> Array:
        return self.linear("output.dense", gelu(self.linear("intermediate.dense", x)))


def houlsby(layer: Layer, x: Array) -> Array:
    """H + up(GELU(down(h))) on each branch, before the residual sum."""
    a = layer.attention(x)
    a = a + layer.adapter("attention.output.dropout", gelu, a)
    u = layer.norm("attention.output.LayerNorm", a + x)
    m = layer.feed_forward(u)
    m = m + layer.adapter("output.dropout", gelu, m)
    return layer.norm("output.LayerNorm", m + u)


def pfeiffer(layer: Layer, x: Array) -> Array:
    """T = LN(m + u) feeds the adapter; the layer's output is LN(adapter(t) + m + u)."""
    u = layer.norm("attention.output.LayerNorm", layer.attention(x) + x)
    m = layer.feed_forward(u)
    t = layer.norm("output.LayerNorm", m + u)
    return layer.norm("output.LayerNorm", layer.adapter("output.LayerNorm", relu, t) + m + u)


def randomised(adaptation: Adaptation) -> Adaptation:
    """Give every trained value an ordinary size, biases and zero matrices among them."""
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 4
    return adaptation


@pytest.mark.parametrize(
    ("method", "by_hand"),
    [
        (Houlsby(bottleneck=5), houlsby),
        (Houlsby(bottleneck=5, train_layer_norm=False), houlsby),
        (Pfeiffer(reduction_factor=4), pfeiffer),
    ],
    ids=["houlsby", "houlsby-frozen-norms", "pfeiffer"],
)
def test_the_adapters_stand_where_the_papers_put_them(
    method: Method, by_hand: Callable[[Layer, Array], Array]
) -> None:
    adaptation = randomised(method.adapt(tiny("bert").double()))
    x = torch.randn(2, 5, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = adaptation.model.get_submodule(LAYER)(x)
    hidden = output if isinstance(output, Tensor) else output[0]
    np.testing.assert_allclose(hidden.numpy(), by_hand(Layer(adaptation), x.numpy()), rtol=0, atol=1e-11)


def test_lora_is_the_weight_plus_the_scaled_product() -> None:
    bare = tiny("bert").double()
    method = LoRA(rank=3, alpha=12, targets=("query", "down"))
    adaptation = randomised(method.adapt(copy.deepcopy(bare)))
    expected = copy.deepcopy(bare)
    paths = [
        f"bert.encoder.layer.{layer}.{part}"
        for layer in range(2)
        for part in ("attention.self.query", "output.dense")
    ]
    assert {name.partition(".lora_")[0] for name in adaptation.trainable} == set(paths)
    with torch.no_grad():
        for path in paths:
            a, b = (adaptation.trainable[f"{path}.lora_{matrix}.default.weight"] for matrix in "AB")
            expected.get_submodule(path).weight += 12 / 3 * (b @ a)
    torch.testing.assert_close(logits(adaptation.model), logits(expected), atol=1e-12, rtol=0)
