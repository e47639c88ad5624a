"""A mean over seeds, or a difference of two, with its standard error over examples and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gluelamp.reporting.statistics.cells import Cell
from gluelamp.reporting.statistics.weighted import range_of

LEVEL = 0.95
_DIGITS = 12  # equal means may differ in the last bits, which is no difference


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, to be read with Student's t.

    Args:
        value: what is estimated.
        error: its standard error.
        freedom: degrees of freedom; infinite for the normal distribution.
        limits: between which the value can be.
    """

    value: float
    error: float
    freedom: float
    limits: tuple[float, float] = (-np.inf, np.inf)

    @property
    def interval(self) -> Interval:
        """The 95 % interval, as far as it lies within the limits."""
        from scipy.special import stdtrit  # slow to import

        half = float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error
        low, high = self.limits
        return Interval(self.value, max(self.value - half, low), min(self.value + half, high))

    @property
    def p(self) -> float:
        """The two-sided p-value of the value 0; below 0.05 exactly if the interval does not contain 0."""
        from scipy.special import stdtr

        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))


def estimate(value: float, resampled: np.ndarray, cells: Sequence[Cell]) -> Estimate:
    """Return an estimate with its standard error over examples and seeds.

    The squared error is a sum. Examples give the variance over bootstrap samples of them (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6). Each cell's seeds give their sample
    variance divided by their number, where drawing two to five seeds again would understate it. What a seed
    does to single rows is in both: of the seeds' part only what goes beyond that is added, so that two or
    three seeds that score alike by chance do not take the examples' part away. The degrees of freedom are
    Satterthwaite's (Biometrics Bulletin 2, 1946): few where seeds make the error, many where examples do.
    They count the seeds also where nothing was added for them, since that nothing was estimated, too.

    If a cell has one seed, the error is over examples alone: nothing is known of other seeds then.

    Args:
        value: a mean over seeds, or a difference of two.
        resampled: the same on bootstrap samples of the rows, shape (resamples,).
        cells: the one or two of which it is made.
    """
    counted = cells if min(len(cell.seeds) for cell in cells) > 1 else []
    of_seeds = [cell.scores.var(ddof=1) / len(cell.seeds) for cell in counted]
    beyond = sum(of_seeds) - sum(map(_noise_of_rows, counted))
    variance = float(resampled.var(ddof=1)) + max(beyond, 0)
    parts = zip(of_seeds, counted, strict=True)
    unsure = sum(part**2 / (len(cell.seeds) - 1) for part, cell in parts)
    fewest = min(len(cell.seeds) for cell in cells) - 1
    freedom = max(variance**2 / unsure, fewest) if unsure else np.inf
    return Estimate(round(float(value), _DIGITS) + 0.0, float(np.sqrt(variance)), float(freedom))


def _noise_of_rows(cell: Cell) -> float:
    """Return the part of a mean's variance over examples in which seeds differ."""
    deviations = cell.resampled - cell.scores[:, None]
    return float(deviations.var(axis=0, ddof=1).mean()) / len(cell.seeds)


def score_estimate(cell: Cell) -> Estimate:
    """Return the mean over seeds of a cell's scores with its standard error; see `estimate`."""
    found = estimate(cell.scores.mean(), cell.resampled.mean(axis=0), [cell])
    return replace(found, limits=range_of(cell.metric))


def score_interval(cell: Cell) -> Interval:
    """Return the mean over seeds of a cell's scores with its 95 % interval.

    It covers the score that is to be expected on other examples with other seeds; of one seed, the score of
    that seed on other examples. See `estimate` for its making.
    """
    return score_estimate(cell).interval


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, such as those of several tasks.

    Squared errors add up, and the degrees of freedom are Satterthwaite's, as in `estimate`.
    """
    variances = np.square([one.error for one in estimates])
    unsure = sum(part**2 / one.freedom for part, one in zip(variances, estimates, strict=True))
    freedom = variances.sum() ** 2 / unsure if unsure else np.inf
    value = float(np.mean([one.value for one in estimates]))
    error = float(np.sqrt(variances.sum())) / len(estimates)
    return Estimate(round(value, _DIGITS) + 0.0, error, float(freedom))
