"""The ratio of two models' times over several pairs of copies, and whether it can be 1.00."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gluelamp.bootstrap import mean_interval


@dataclass(frozen=True)
class Ratio:
    """A ratio of times with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def is_one(self, resolution: float) -> bool:
        """Whether it can be 1.00, and cannot be ``1 + resolution`` or more."""
        return self.low <= 1 <= self.high < 1 + resolution

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


def ratio_of_blocks(times: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> Ratio:
    """Return the ratio of times that were taken in blocks, with the block as the unit of resampling.

    Where a copy of a model lies in memory makes it a little faster or slower in all of its rounds. So
    rounds of one pair of copies are not independent, and a bootstrap over rounds promises too much. Here
    a block counts once, by the median over its rounds of the logarithm of the ratio, and blocks are
    resampled whole (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

    Args:
        times: (blocks, rounds) of one model.
        base: (blocks, rounds) of the other, in the same rounds.

    Returns:
        The geometric mean over blocks.
    """
    blocks = np.median(np.log(np.asarray(times) / np.asarray(base)), axis=1)
    low, high = mean_interval(blocks)
    return Ratio(float(np.exp(blocks.mean())), float(np.exp(low)), float(np.exp(high)))
