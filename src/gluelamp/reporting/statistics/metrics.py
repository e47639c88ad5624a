"""Scores on many resamples of the rows at once: each resample is a column of row weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gluelamp.errors import unknown
from gluelamp.tasks.task import ERRORS

ROC_AUC = "roc_auc"
"""The metric of margins instead of predicted classes."""
MATTHEWS_CROSS_FITTED = "matthews_cross_fitted"
"""Matthews correlation where each half of the rows has the best threshold of the other half."""
MEAN = "mean"
"""The mean of the predictions, which are scores of the rows, from 0 to 1, that another program computed."""
REGRESSION = ("pearson", "spearman", *ERRORS)
"""Metrics of numbers rather than classes."""


def weighted_scores(
    metric: str,
    labels: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return the metric on resamples that are given as row weights.

    Args:
        metric: accuracy, f1 (of class 1), macro_f1, matthews_correlation, pearson, spearman, mae, rmse,
            roc_auc, mean (of the predictions), or one that counts groups: exact_match or gender_parity.
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
    if metric in ("matthews_correlation", MATTHEWS_CROSS_FITTED, "pearson", "spearman"):
        return -1.0, 1.0
    return 0.0, np.inf if metric in ERRORS else 1.0


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


def _mae(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _mean(labels, abs(predictions - labels), weights)


def _rmse(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean(labels, (predictions - labels) ** 2, weights))


def _mean(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return predictions @ weights / weights.sum(axis=0)


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
    "mae": _mae,
    "rmse": _rmse,
    MEAN: _mean,
    ROC_AUC: _roc_auc,
    MATTHEWS_CROSS_FITTED: _matthews,
}
