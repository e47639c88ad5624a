"""Means over seeds, and differences of two, with a standard error over examples and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gluelamp.reporting.statistics.predictions import Predictions
from gluelamp.reporting.statistics.resampling import score_range

LEVEL = 0.95
_DIGITS = 12  # equal means may differ in the last bits of a float


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, for Student's t distribution.

    Args:
        value: the estimate.
        error: its standard error.
        freedom: degrees of freedom; infinite for the normal distribution.
        limits: the smallest and the largest possible value.
    """

    value: float
    error: float
    freedom: float
    limits: tuple[float, float] = (-np.inf, np.inf)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval, clipped to the limits."""
        return max(self.value - self._half_width, self.limits[0])

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval, clipped to the limits."""
        return min(self.value + self._half_width, self.limits[1])

    @property
    def p(self) -> float:
        """The two-sided p-value of the value 0; below 0.05 exactly if the interval does not contain 0."""
        from scipy.special import stdtr

        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))

    @property
    def _half_width(self) -> float:
        from scipy.special import stdtrit  # slow to import

        return float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error


def estimate(value: float, resampled: np.ndarray, sides: Sequence[Predictions]) -> Estimate:
    """Return an estimate with its standard error over examples and seeds.

    The squared error is the sum of two parts:

    - examples: the variance over bootstrap samples of the rows (Efron and Tibshirani, "An Introduction to
      the Bootstrap", 1993, chapter 6);
    - seeds: for each side the sample variance of its scores divided by the number of seeds. Resampling two
      to five seeds would understate it.

    The variation of single rows between seeds is in both parts. Therefore only the excess of the second
    part is added, and never a negative one: two or three seeds with equal scores by chance must not reduce
    the part of the examples.

    The degrees of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946): few where seeds dominate the
    error, many where examples do. Seeds count even if their excess is 0, since it is an estimate too.

    If one side has one seed, the error is over examples alone: nothing is known about other seeds.

    Args:
        value: a mean over seeds, or a difference of two.
        resampled: the same on bootstrap samples of the rows, shape (resamples,).
        sides: the predictions of the one or two methods.
    """
    # The variance over seeds needs two seeds of every side.
    fewest = min(len(side.seeds) for side in sides)
    counted = sides if fewest > 1 else []
    seed_parts = [side.scores.var(ddof=1) / len(side.seeds) for side in counted]
    excess = sum(seed_parts) - sum(map(_row_noise, counted))
    variance = float(resampled.var(ddof=1)) + max(excess, 0)
    uncertainty = sum(part**2 / (len(side.seeds) - 1) for part, side in zip(seed_parts, counted, strict=True))
    # Not below the freedom of the smallest side, which an estimated variance may miss.
    freedom = max(variance**2 / uncertainty, fewest - 1) if uncertainty else np.inf
    return Estimate(round(float(value), _DIGITS) + 0.0, float(np.sqrt(variance)), float(freedom))


def _row_noise(side: Predictions) -> float:
    """Return the part of the variance over examples that is due to differences between seeds."""
    # What all seeds have in common on a resample is no noise of rows: the score on all rows is subtracted.
    deviations = side.resampled - side.scores[:, None]
    return float(deviations.var(axis=0, ddof=1).mean()) / len(side.seeds)


def score_estimate(predictions: Predictions) -> Estimate:
    """Return the mean score over seeds, with its error.

    The interval covers the expected score on other examples with other seeds; with one seed, the score of
    that seed on other examples. See `estimate`.
    """
    mean = predictions.scores.mean()
    found = estimate(mean, predictions.resampled.mean(axis=0), [predictions])
    return replace(found, limits=score_range(predictions.metric))


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, such as those of several tasks.

    Squared errors add up, and the degrees of freedom are Satterthwaite's, as in `estimate`.
    """
    variances = np.square([one.error for one in estimates])
    uncertainty = sum(part**2 / one.freedom for part, one in zip(variances, estimates, strict=True))
    freedom = variances.sum() ** 2 / uncertainty if uncertainty else np.inf
    # An estimate with an infinite number of degrees of freedom adds nothing to the uncertainty.
    value = float(np.mean([one.value for one in estimates]))
    error = float(np.sqrt(variances.sum())) / len(estimates)
    return Estimate(round(value, _DIGITS) + 0.0, error, float(freedom))
