"""The control for HiWi: what it stores, and what of it is in use."""

from __future__ import annotations

import torch

from gluelamp.methods.ffn_bias import FeedForwardBias
from gluelamp.methods.hiwi import HiWi
from gluelamp.methods.storage import count_bytes
from methods.cases import train
from tiny_models import tiny

CONTROL = FeedForwardBias()


def test_it_stores_what_hiwi_stores() -> None:
    control, hiwi = CONTROL.adapt(tiny("bert")), HiWi().adapt(tiny("bert"))
    stored = [
        {name.rpartition(".")[0]: value.shape for name, value in adaptation.method_state().items()}
        for adaptation in (control, hiwi)
    ]
    assert stored[0] == stored[1]
    assert count_bytes(control) == count_bytes(hiwi)


def test_both_biases_of_each_layer_move_and_stay_when_merged() -> None:
    adaptation = CONTROL.adapt(tiny("bert"))
    train(adaptation)
    values = {name: value.detach().clone() for name, value in adaptation.trainable.items()}
    merged, bare = adaptation.merge(), tiny("bert")
    for layer in range(2):
        for part in ("intermediate.dense", "output.dense"):
            bias = f"bert.encoder.layer.{layer}.{part}.bias"
            assert torch.equal(merged.get_parameter(bias), values[f"{bias}.values"])
            assert not torch.equal(merged.get_parameter(bias), bare.get_parameter(bias))
