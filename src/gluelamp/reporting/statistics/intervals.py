"""Scores on bootstrap resamples of the rows, and means over seeds with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from gluelamp.reporting.statistics.metrics import score_range, weighted_scores

LEVEL = 0.95
_DIGITS = 12  # equal means may differ in the last bits of a float
RESAMPLES = 2000
"""Only standard errors are taken from the resamples: 2,000 give them within 1.6 % (one deviation)."""
COLLAPSED_FRACTION = 0.99
"""A run that predicts one class on at least this fraction of the rows is collapsed. Whether such a run is a
little better or worse than the majority baseline is decided by a few rows near the decision threshold."""

_BLOCK = 50  # resamples at once: limits the memory on large tasks, and fits the CPU caches on small ones
BOOTSTRAP_SEED = 0
"""The same resamples for all methods of a task: comparisons are paired by row."""


class SeedScores(Protocol):
    """Scores of several seeds, on all rows and on bootstrap samples of them."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""

    @property
    def scores(self) -> np.ndarray:
        """On all rows, shape (seeds,)."""

    @property
    def resampled(self) -> np.ndarray:
        """On the resamples, shape (seeds, resamples)."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """All seeds of one method, in one setting, on one task and split.

    Args:
        metric: the metric of the scores.
        labels: class ids or numbers, shape (rows,).
        outputs: predicted class ids; numbers for a regression task; margins, the output of class 1 - that of
            class 0, for `ROC_AUC`. Shape (seeds, rows).
        seeds: of the runs, in ascending order.
        lower_is_better: whether the metric is an error.
        groups: the group of each row, shape (rows,), such as the question of an answer; None if rows are
            independent. Groups are sampled as a whole.
        resamples: number of bootstrap samples.
    """

    metric: str
    labels: np.ndarray
    outputs: np.ndarray
    seeds: tuple[int, ...]
    lower_is_better: bool
    groups: np.ndarray | None = None
    resamples: int = RESAMPLES

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of each seed on all rows, shape (seeds,)."""
        once = np.ones((len(self.labels), 1))
        return weighted_scores(self.metric, self.labels, self.outputs, once, self.groups)[:, 0]

    @cached_property
    def resampled(self) -> np.ndarray:
        """The score of each seed on bootstrap samples of the rows or groups, shape (seeds, resamples)."""
        return resampled_scores(self.metric, self.labels, self.outputs, self.groups, self.resamples)

    @cached_property
    def collapsed(self) -> int:
        """The number of seeds with one and the same output on at least `COLLAPSED_FRACTION` of the rows."""
        counts = [np.unique(seed, return_counts=True)[1].max() for seed in self.outputs]
        return int(np.sum(np.array(counts) >= COLLAPSED_FRACTION * len(self.labels)))


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
        return self.interval()[0]

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval, clipped to the limits."""
        return self.interval()[1]

    @property
    def p(self) -> float:
        """The two-sided p-value of the value 0; below 0.05 exactly if the interval does not contain 0."""
        from scipy.special import stdtr

        if self.error == 0:
            return float(self.value == 0)
        return float(2 * stdtr(self.freedom, -abs(self.value) / self.error))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the two-sided interval of a confidence level, clipped to the limits."""
        from scipy.special import stdtrit  # slow to import

        half_width = float(stdtrit(self.freedom, (1 + level) / 2)) * self.error
        return max(self.value - half_width, self.limits[0]), min(self.value + half_width, self.limits[1])


def estimate(value: float, resampled: np.ndarray, sides: Sequence[SeedScores]) -> Estimate:
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
        sides: the predictions of the one or two methods, or the differences of two, seed by seed.
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


def _row_noise(side: SeedScores) -> float:
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
    unlimited = estimate(mean, predictions.resampled.mean(axis=0), [predictions])
    return replace(unlimited, limits=score_range(predictions.metric))


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


def resampled_scores(
    metric: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Return the scores of bootstrap samples of the rows, shape (seeds, resamples).

    Rows in groups are not independent, so whole groups are sampled (the cluster bootstrap; Davison and
    Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). The resamples depend on the number
    of rows or groups alone, so all methods of a task have the same ones.
    """
    # Rows without groups are groups of one row.
    names, rows = (None, slice(None)) if groups is None else np.unique(groups, return_inverse=True)
    sampled = len(labels) if names is None else len(names)
    # Blocks bound the memory: as floats, the weights of all resamples of MNLI would be 160 MB.
    blocks = [
        weighted_scores(metric, labels, predictions, block[rows], groups)
        for block in _weights(sampled, resamples)
    ]
    return np.concatenate(blocks, axis=1)


@lru_cache(maxsize=4)
def _weights(rows: int, resamples: int) -> tuple[np.ndarray, ...]:
    """Return the row weights of all resamples in blocks of shape (rows, resamples)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return tuple(_block(rng, rows, min(_BLOCK, resamples - start)) for start in range(0, resamples, _BLOCK))


def _block(rng: np.random.Generator, rows: int, resamples: int) -> np.ndarray:
    # One bincount for all resamples: row r of resample c has the index r * resamples + c
    index = rng.integers(rows, size=(rows, resamples)) * resamples + np.arange(resamples)
    counts = np.bincount(index.ravel(), minlength=rows * resamples).reshape(rows, resamples)
    return counts.astype(np.uint8)
