"""Paired timing of a method against the bare backbone: the models, the ratio of their times, the result.

The speed of a model depends a little on where its copy lies in memory. Therefore the certificate times
several blocks, each with new copies of all models, and treats the block as the unit of the interval.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gluelamp.bootstrap import mean_interval
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.models import adapt_perturbed, build_bare, random_inputs
from gluelamp.records.measurements import MERGE_TOLERANCE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE, CONTROL, CANDIDATE = "base", "control", "candidate"
"""The bare backbone, a second copy of it, and the backbone with the method."""


class PairedModels:
    """The bare backbone with random weights, and the method on it with perturbed values.

    Args:
        model: the backbone and the method.
        state: ``merged`` or ``unmerged``.
        length: tokens of the example on which the outputs are compared.

    Raises:
        InputError: if the method does not support the backbone, or cannot be merged with these options.
    """

    def __init__(self, model: MeasuredModel, state: str, length: int) -> None:
        self._base = build_bare(model.backbone)
        # Outputs are compared in fp32 on the CPU, before the copies are cast and moved for the timing.
        inputs = random_inputs(self._base, 1, length)
        adaptation = adapt_perturbed(model.method, self._base)
        with torch.no_grad():
            bare, unmerged = (each.eval()(**inputs).logits for each in (self._base, adaptation.model))
            if state == "merged":
                adaptation.merge()
            self._candidate = adaptation.model.eval()
            final = self._candidate(**inputs).logits
        self.outputs = {
            "largest": float(unmerged.abs().max()),
            "changed_by_method": float((unmerged - bare).abs().max()),
            "changed_by_merging": float((final - unmerged).abs().max()),
        }
        """The largest fp32 output of the head, and the largest changes of an output."""

    def copies(self, seed: int) -> dict[str, PreTrainedModel]:
        """Return new copies of `BASE`, `CONTROL` and `CANDIDATE`, created in a seeded random order."""
        # The order of creation decides which copy gets which part of memory, so it is random.
        names = random.Random(seed).sample([BASE, CONTROL, CANDIDATE], 3)
        copies = {name: deepcopy(self._candidate if name == CANDIDATE else self._base) for name in names}
        return {name: copies[name] for name in (BASE, CONTROL, CANDIDATE)}


@dataclass(frozen=True)
class Ratio:
    """A ratio of times with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def is_one(self, resolution: float) -> bool:
        """Whether the interval contains 1.00 and ends below ``1 + resolution``."""
        return self.low <= 1 <= self.high < 1 + resolution

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


def block_ratio(times: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> Ratio:
    """Return the ratio of two models' times, with the block as the unit of resampling.

    The rounds of a block share the copies of the models, so they are not independent, and an interval
    over rounds would be too narrow. Each block counts once: by the median over its rounds of the
    logarithm of the ratio (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

    Args:
        times: (blocks, rounds) of one model.
        base: (blocks, rounds) of the other model, in the same rounds.

    Returns:
        The geometric mean over blocks, with its 95 % interval.
    """
    # The median ignores rounds in which another process took the machine; logarithms treat a ratio and its
    # inverse equally.
    blocks = np.median(np.log(np.asarray(times) / np.asarray(base)), axis=1)
    low, high = mean_interval(blocks)
    return Ratio(float(np.exp(blocks.mean())), float(np.exp(low)), float(np.exp(high)))


@dataclass(frozen=True)
class Attempt:
    """The times of one attempt.

    Args:
        blocks: for each block, the milliseconds of each round of `BASE`, `CONTROL` and `CANDIDATE`.
    """

    blocks: Sequence[Mapping[str, Sequence[float]]]

    @cached_property
    def ratio(self) -> Ratio:
        """Time of the candidate over that of the bare backbone."""
        return self._over_base(CANDIDATE)

    @cached_property
    def control(self) -> Ratio:
        """Time of the second bare copy over that of the first."""
        return self._over_base(CONTROL)

    def _over_base(self, name: str) -> Ratio:
        times, base = ([block[key] for block in self.blocks] for key in (name, BASE))
        return block_ratio(times, base)

    def evidence(self) -> dict[str, Any]:
        """Return the ratios and all times as plain values."""
        times = [{name: list(block[name]) for name in (BASE, CONTROL, CANDIDATE)} for block in self.blocks]
        return {"ratio": asdict(self.ratio), "control": asdict(self.control), "milliseconds": times}


def deciding_attempt(attempts: Sequence[Attempt], resolution: float) -> Attempt:
    """Return the attempt that passed, or the last one if none passed."""
    return next((attempt for attempt in attempts if attempt.ratio.is_one(resolution)), attempts[-1])


def timing_reasons(attempts: Sequence[Attempt], resolution: float) -> list[str]:
    """Return a sentence if no attempt passed.

    Args:
        attempts: at least one.
        resolution: see `Ratio.is_one`.
    """
    # Of several attempts one must pass: the docstring of the certificate gives the error rates.
    last = deciding_attempt(attempts, resolution)
    if last.ratio.is_one(resolution):
        return []
    wrong = "is too wide" if last.ratio.low <= 1 <= last.ratio.high else "misses 1.00"
    return [
        f"Timed {len(attempts)} times, and in the last the ratio to the bare backbone is {last.ratio}: the "
        f"interval {wrong}; it must contain 1.00 and end below {1 + resolution:g}. The ratio of a second "
        f"bare copy was {last.control}."
    ]


def outputs_reasons(outputs: Mapping[str, float]) -> list[str]:
    """Return a sentence if merging changed the outputs, so that the merged model is not the method."""
    changed, largest = outputs["changed_by_merging"], outputs["largest"]
    if changed <= MERGE_TOLERANCE * largest:
        return []
    return [f"Merging changed the outputs by up to {changed:.3g}, where the largest is {largest:.3g}."]
