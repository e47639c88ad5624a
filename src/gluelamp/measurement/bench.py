"""The models of random weights that every method is tried on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.measurement.states import OUTPUTS, build_bare


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


def make_bench(full: BackboneConfig, small: BackboneConfig, architectures: Iterable[BackboneConfig]) -> Bench:
    """Return the models of some shapes, with random values in every tensor.

    Args:
        full: see `Bench`.
        small: see `Bench`.
        architectures: one backbone of each.
    """
    with torch.random.fork_rng(devices=[]):
        models = [build_bare(shape) for shape in (full, small)]
    with torch.device("meta"):
        shells = [build_from_shape(shape, OUTPUTS, ATTENTION) for shape in architectures]
    return Bench(models[0], models[1], shells)
