"""From the times of an attempt to what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from gluelamp.measurement.pair import BASE, CANDIDATE, CONTROL
from gluelamp.measurement.ratio import Ratio, ratio_of_blocks

TOLERANCE = 1e-5
"""Merging may change the outputs by that share of the largest, in fp32."""


@dataclass(frozen=True)
class Attempt:
    """Times of a bare backbone, of a second copy of it, and of a method's state.

    Args:
        blocks: of each block, the milliseconds of each round by name.
    """

    blocks: Sequence[Mapping[str, Sequence[float]]]

    @cached_property
    def ratio(self) -> Ratio:
        """The method's state over the bare backbone."""
        return self._over_base(CANDIDATE)

    @cached_property
    def control(self) -> Ratio:
        """The second bare copy over the first."""
        return self._over_base(CONTROL)

    def _over_base(self, name: str) -> Ratio:
        times, base = ([block[key] for block in self.blocks] for key in (name, BASE))
        return ratio_of_blocks(times, base)

    def evidence(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        times = [{name: list(block[name]) for name in (BASE, CONTROL, CANDIDATE)} for block in self.blocks]
        return {"ratio": asdict(self.ratio), "control": asdict(self.control), "milliseconds": times}


def deciding(attempts: Sequence[Attempt], resolution: float) -> Attempt:
    """Return the attempt that passed, or the last if none did."""
    return next((one for one in attempts if one.ratio.is_one(resolution)), attempts[-1])


def timing_reasons(attempts: Sequence[Attempt], resolution: float) -> list[str]:
    """Return a sentence if no attempt passed.

    Args:
        attempts: at least one.
        resolution: see `Ratio.is_one`.
    """
    last = deciding(attempts, resolution)
    if last.ratio.is_one(resolution):
        return []
    wrong = "is too wide" if last.ratio.low <= 1 <= last.ratio.high else "misses 1.00"
    return [
        f"Timed {len(attempts)} times, and in the last the ratio to the bare backbone is {last.ratio}: the "
        f"interval {wrong}; it must contain 1.00 and end below {1 + resolution:g}. The ratio of a second "
        f"bare copy was {last.control}."
    ]


def outputs_reasons(outputs: Mapping[str, float]) -> list[str]:
    """Return a sentence if merging changed the outputs: what was merged is then not the method."""
    changed, largest = outputs["changed_by_merging"], outputs["largest"]
    if changed <= TOLERANCE * largest:
        return []
    return [f"Merging changed the outputs by up to {changed:.3g}, where the largest is {largest:.3g}."]
