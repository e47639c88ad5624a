"""Scores on bootstrap resamples of the rows, and means over seeds with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from gluelamp.errors import unknown

LEVEL = 0.95
_DIGITS = 12  # equal means may differ in the last bits of a float
RESAMPLES = 2000
"""Only standard errors are taken from the resamples: 2,000 give them within 1.6 % (one deviation)."""
COLLAPSED_FRACTION = 0.99
"""A run that predicts one class on at least this fraction of the rows is collapsed. Whether such a run is a
little better or worse than the majority baseline is decided by a few rows near the decision threshold."""
ROC_AUC = "roc_auc"
"""The metric of margins instead of predicted classes."""
MATTHEWS_CROSS_FITTED = "matthews_cross_fitted"
"""Matthews correlation where each half of the rows has the best threshold of the other half."""

_BLOCK = 50  # resamples at once: limits the memory on large tasks, and fits the CPU caches on small ones
_SEED = 0  # the same resamples for all methods of a task: comparisons are paired by row


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
    """

    metric: str
    labels: np.ndarray
    outputs: np.ndarray
    seeds: tuple[int, ...]
    lower_is_better: bool
    groups: np.ndarray | None = None

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of each seed on all rows, shape (seeds,)."""
        once = np.ones((len(self.labels), 1))
        return weighted_scores(self.metric, self.labels, self.outputs, once, self.groups)[:, 0]

    @cached_property
    def resampled(self) -> np.ndarray:
        """The score of each seed on bootstrap samples of the rows or groups, shape (seeds, resamples)."""
        return resampled_scores(self.metric, self.labels, self.outputs, self.groups)

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


def weighted_scores(
    metric: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the metric on resamples that are given as row weights.

    Args:
        metric: accuracy, f1 (of class 1), macro_f1, matthews_correlation, pearson, spearman, roc_auc, or one
            that counts groups: exact_match or gender_parity.
        labels: class ids or numbers, shape (rows,).
        predictions: class ids, numbers, or margins for roc_auc, shape (seeds, rows).
        weights: how often each row is in each resample, shape (rows, resamples); equal within a group.
        groups: the group of each row, shape (rows,), for metrics that count groups.

    Returns:
        shape (seeds, resamples); 0.0 where a correlation or F1 is not defined, as in the GLUE tables, and 0.5
        where ROC AUC is not, because a resample has one class.

    Raises:
        InputError: if the metric is unknown.
    """
    if metric in _GROUP_METRICS and groups is not None:
        # Sorted by group: the rows of group g are those from starts[g] on, and the first one has its weight.
        order = np.argsort(groups, kind="stable")
        starts = np.unique(groups[order], return_index=True)[1]
        counted = _GROUP_METRICS[metric](labels[order], predictions[:, order], starts)
        of_groups = weights[order][starts].astype(np.float64)
        return counted @ of_groups / of_groups.sum(axis=0)
    if metric not in _METRICS:
        raise unknown("metric", metric, _METRICS | _GROUP_METRICS)
    return _METRICS[metric](labels, predictions, weights.astype(np.float64))


def score_range(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest possible score of a metric of `weighted_scores`."""
    correlations = ("matthews_correlation", MATTHEWS_CROSS_FITTED, "pearson", "spearman")
    return (-1.0, 1.0) if metric in correlations else (0.0, 1.0)


def resampled_scores(
    metric: str, labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the scores of `RESAMPLES` bootstrap samples of the rows, shape (seeds, resamples).

    Rows in groups are not independent, so whole groups are sampled (the cluster bootstrap; Davison and
    Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). The resamples depend on the number
    of rows or groups alone, so all methods of a task have the same ones.
    """
    # Rows without groups are groups of one row.
    names, rows = (None, slice(None)) if groups is None else np.unique(groups, return_inverse=True)
    sampled = len(labels) if names is None else len(names)
    # Blocks bound the memory: as floats, the weights of all resamples of MNLI would be 160 MB.
    blocks = [
        weighted_scores(metric, labels, predictions, block[rows], groups) for block in _weights(sampled)
    ]
    return np.concatenate(blocks, axis=1)


@lru_cache(maxsize=4)
def _weights(rows: int) -> tuple[np.ndarray, ...]:
    """Return the row weights of all resamples in blocks of shape (rows, resamples)."""
    rng = np.random.default_rng(_SEED)
    return tuple(_block(rng, rows) for _ in range(RESAMPLES // _BLOCK))


def _block(rng: np.random.Generator, rows: int) -> np.ndarray:
    # One bincount for all resamples: row r of resample c has the index r * _BLOCK + c
    index = rng.integers(rows, size=(rows, _BLOCK)) * _BLOCK + np.arange(_BLOCK)
    counts = np.bincount(index.ravel(), minlength=rows * _BLOCK).reshape(rows, _BLOCK)
    return counts.astype(np.uint8)


def _accuracy(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (predictions == labels) @ weights / weights.sum(axis=0)


def _f1(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # F1 = 2 TP / (true positives + predicted positives), each a weighted count.
    true, predicted = labels == 1, predictions == 1
    return _ratio(2 * ((true & predicted) @ weights), true @ weights + predicted @ weights)


def _macro_f1(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # The mean over the classes that occur in the resample, in labels or predictions
    classes = np.union1d(labels, predictions)
    scores = [_f1(labels == label, predictions == label, weights) for label in classes]
    occurs = [((labels == label) | (predictions == label)) @ weights > 0 for label in classes]
    return np.sum(scores, axis=0) / np.sum(occurs, axis=0)


def _matthews(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    # Computational Biology and Chemistry 28 (2004)
    classes = np.union1d(labels, predictions)
    rows = weights.sum(axis=0)
    correct = (predictions == labels) @ weights
    predicted = np.stack([(predictions == label) @ weights for label in classes])
    true = np.stack([[(labels == label) @ weights] for label in classes])
    covariance = correct * rows - (predicted * true).sum(axis=0)
    spread = (rows**2 - (predicted**2).sum(axis=0)) * (rows**2 - (true**2).sum(axis=0))
    return _ratio(covariance, np.sqrt(spread))


def _pearson(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rows = weights.sum(axis=0)
    # Subtract the first value: a constant becomes exactly 0, and so does its variance
    x, y = predictions - predictions[:, :1], labels - labels[0]
    sum_x, sum_y = x @ weights, y @ weights
    covariance = rows * ((x * y) @ weights) - sum_x * sum_y
    spread = (rows * (x**2 @ weights) - sum_x**2) * (rows * (y**2 @ weights) - sum_y**2)
    return _ratio(covariance, np.sqrt(spread.clip(min=0)))


def _spearman(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # Integers, with each resample contiguous in memory: cumulative sums take a ninth of the time
    counts = np.ascontiguousarray(weights.T, dtype=np.int32)
    y = _centred_ranks(labels, counts)
    return np.stack([_cosine(_centred_ranks(seed, counts), y, counts) for seed in predictions])


def _roc_auc(labels: np.ndarray, margins: np.ndarray, weights: np.ndarray) -> np.ndarray:
    # The Mann-Whitney statistic: the fraction of pairs of rows, one of each class, with the larger margin in
    # class 1; a tie counts half (Hanley and McNeil, Radiology 143, 1982).
    counts = np.ascontiguousarray(weights.T, dtype=np.int32)
    positive = counts * (labels == 1)
    ones = positive.sum(axis=1)
    pairs = ones * (counts.sum(axis=1) - ones)
    ranks = np.stack([(positive * _centred_ranks(seed, counts)).sum(axis=1) for seed in margins])
    return 0.5 + _ratio(ranks, 2.0 * pairs)


def _centred_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return 2 * (rank - mean rank) on each resample, shape (resamples, rows); ties have the mean rank."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    sorted_counts = counts.take(np.argsort(group, kind="stable"), axis=1)
    # Number of resampled rows up to and including each group of equal values
    up_to = sorted_counts.cumsum(axis=1, dtype=np.int32).take(size.cumsum() - 1, axis=1)
    before = np.pad(up_to[:, :-1], ((0, 0), (1, 0)))
    return (before + up_to - up_to[:, -1:]).take(group, axis=1).astype(np.float64)


def _cosine(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    weighted = counts * x
    spread = (weighted * x).sum(axis=1) * (counts * y**2).sum(axis=1)
    return _ratio((weighted * y).sum(axis=1), np.sqrt(spread))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _exact_match(labels: np.ndarray, predictions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return which groups are right in all rows, (seeds, groups); the rows are sorted by group."""
    return np.logical_and.reduceat(predictions == labels, starts, axis=1)


def _gender_parity(labels: np.ndarray, predictions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return which groups have equal predictions in all rows, (seeds, groups)."""
    lowest, highest = (part.reduceat(predictions, starts, axis=1) for part in (np.minimum, np.maximum))
    return lowest == highest


_GROUP_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "exact_match": _exact_match,
    "gender_parity": _gender_parity,
}
_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
    ROC_AUC: _roc_auc,
    MATTHEWS_CROSS_FITTED: _matthews,
}
