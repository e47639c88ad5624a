"""The models of random weights that every method is tried on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape

_SEED = 0
_OUTPUTS = 2
_STD = 0.05  # what is added to every value: with it no tensor stands at zero or one


@dataclass(frozen=True)
class Bench:
    """The models that every method is tried on; they stay as they are.

    Args:
        full: of the backbone's real shape, for bytes and FLOPs.
        small: cheap enough for many passes.
        shells: one of each architecture, without values.
    """

    full: PreTrainedModel
    small: PreTrainedModel
    shells: Sequence[PreTrainedModel]


@torch.no_grad()
def make_bench(full: BackboneConfig, small: BackboneConfig, architectures: Iterable[BackboneConfig]) -> Bench:
    """Return the models of some shapes, with random values in every tensor.

    What starts at zero or one elsewhere, as biases do, is random too: a merge that forgot it would
    pass unseen.

    Args:
        full: see `Bench`.
        small: see `Bench`.
        architectures: one backbone of each.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        models = [build_from_shape(shape, _OUTPUTS, ATTENTION).eval() for shape in (full, small)]
        for model in models:
            for value in model.parameters():
                value.add_(_STD * torch.randn_like(value))
    with torch.device("meta"):
        shells = [build_from_shape(shape, _OUTPUTS, ATTENTION) for shape in architectures]
    return Bench(models[0], models[1], shells)
