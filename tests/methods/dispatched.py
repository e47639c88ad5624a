"""DyT on tiny models whose dispatchers split the tokens, for its tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gluelamp.backbones.dropout import set_dropout
from gluelamp.methods.base import Adaptation
from gluelamp.methods.dyt import DispatchedNetwork, DyT
from tiny_models import batch, tiny


def dyt(**fields: object) -> DyT:
    return DyT(**{"bottleneck": 5, **fields})


def randomised(architecture: str = "bert", **fields: object) -> Adaptation:
    """Return an adaptation in float64 and without dropout whose dispatchers split the tokens."""
    adaptation = dyt(**fields).adapt(tiny(architecture))
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = torch.randn(value.shape, generator=generator) / 2
    set_dropout(adaptation.model.double().eval(), 0.0)
    return adaptation


def networks(adaptation: Adaptation) -> list[DispatchedNetwork]:
    return [m for m in adaptation.model.modules() if isinstance(m, DispatchedNetwork)]


def padded() -> dict[str, Tensor]:
    """Return rows of which some end in padding."""
    inputs = batch()
    for row, length in enumerate((9, 7, 5, 2)):
        inputs["attention_mask"][row, length:] = 0
    return inputs


def watch_masks(adaptation: Adaptation) -> list[Tensor]:
    """Return a list that takes each dispatcher's mask in each pass."""
    masks: list[Tensor] = []
    for network in networks(adaptation):
        network.dispatcher.register_forward_hook(lambda _, __, mask: masks.append(mask.detach()))
    return masks


def active_fraction(masks: Sequence[Tensor], real: Tensor) -> float:
    """Return the part of the real tokens but the first that is active."""
    counted = real[:, 1:].numpy().astype(bool)
    return float(np.mean([mask.numpy()[:, 1:][counted].mean() for mask in masks]))
