"""The metrics on bootstrap resamples, with the multiplicity of each row as its weight."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from gluelamp.errors import unknown

RESAMPLES = 2000
"""Only standard errors are taken from the resamples: 2,000 give them within 1.6 % (one deviation)."""

_BLOCK = 50  # resamples at once: limits the memory on large tasks, and fits the CPU caches on small ones
_SEED = 0  # the same resamples for all methods of a task: comparisons are paired by row


def weighted_scores(
    metric: str, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the metric on resamples that are given as row weights.

    Args:
        metric: accuracy, f1 (of class 1), matthews_correlation, pearson or spearman.
        labels: class ids or numbers, shape (rows,).
        predictions: class ids or numbers, shape (seeds, rows).
        weights: how often each row is in each resample, shape (rows, resamples).

    Returns:
        shape (seeds, resamples); 0.0 where a correlation or F1 is not defined, as in the GLUE tables.

    Raises:
        InputError: if the metric is unknown.
    """
    if metric not in _METRICS:
        raise unknown("metric", metric, _METRICS)
    return _METRICS[metric](labels, predictions, weights.astype(np.float64))


def score_range(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest possible score of a metric of `weighted_scores`."""
    return (0.0, 1.0) if metric in ("accuracy", "f1") else (-1.0, 1.0)


def resampled_scores(metric: str, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return the scores of `RESAMPLES` bootstrap samples of the rows, shape (seeds, resamples).

    The resamples depend on the number of rows alone, so all methods of a task have the same ones.
    """
    # Blocks bound the memory: as floats, the weights of all resamples of MNLI would be 160 MB.
    blocks = [weighted_scores(metric, labels, predictions, block) for block in _weights(len(labels))]
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


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}
