"""Metrics of weighted rows, against libraries on the rows themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from gluelamp.errors import InputError
from gluelamp.reporting.statistics.weighted import RESAMPLES, resampled_scores, weighted_scores

Reference = Callable[[np.ndarray, np.ndarray], float]
ROWS, SEEDS, DRAWS = 60, 3, 40

REFERENCES: list[tuple[str, int, Reference]] = [
    ("accuracy", 3, accuracy_score),
    ("f1", 2, f1_score),
    ("matthews_correlation", 2, matthews_corrcoef),
    ("matthews_correlation", 3, matthews_corrcoef),
    ("pearson", 0, lambda labels, predictions: pearsonr(labels, predictions).statistic),
    ("spearman", 0, lambda labels, predictions: spearmanr(labels, predictions).statistic),
]


def rows_of(classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions that agree in part; numbers with ties if there are no classes."""
    if not classes:
        labels = rng.integers(0, 11, ROWS) / 2
        return labels, (labels + rng.normal(0, 2, (SEEDS, ROWS))).round(1)
    labels = rng.integers(0, classes, ROWS)
    other = rng.integers(0, classes, (SEEDS, ROWS))
    return labels, np.where(rng.random((SEEDS, ROWS)) < 0.6, labels, other)


@pytest.mark.parametrize(("metric", "classes", "reference"), REFERENCES)
def test_a_weighted_score_is_that_of_the_rows_drawn(metric: str, classes: int, reference: Reference) -> None:
    rng = np.random.default_rng(classes)
    labels, predictions = rows_of(classes, rng)
    drawn = rng.integers(0, ROWS, (DRAWS, ROWS))
    weights = np.stack([np.bincount(draw, minlength=ROWS) for draw in drawn], axis=1)
    expected = [[reference(labels[draw], seed[draw]) for draw in drawn] for seed in predictions]
    found = weighted_scores(metric, labels, predictions, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", ["matthews_correlation", "f1", "pearson", "spearman"])
@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_constant_predictions_score_exactly_zero(metric: str, constant: float) -> None:
    labels = np.random.default_rng(0).integers(0, 2, ROWS).astype(float)
    scores = resampled_scores(metric, labels, np.full((1, ROWS), constant))
    assert (scores == 0).all()


def test_resamples_are_the_same_draws_with_replacement_for_every_cell() -> None:
    rng = np.random.default_rng(0)
    labels = np.ones(ROWS)
    predictions = (rng.random((SEEDS, ROWS)) < 0.7).astype(float)
    scores = resampled_scores("accuracy", labels, predictions)
    assert scores.shape == (SEEDS, RESAMPLES)
    np.testing.assert_array_equal(scores[1:2], resampled_scores("accuracy", labels, predictions[1:2]))
    # a mean over n draws with replacement has the variance p (1 - p) / n; 2,000 draws tell it to 3.2 %
    share = predictions.mean(axis=1)
    np.testing.assert_allclose(scores.mean(axis=1), share, atol=0.005)
    np.testing.assert_allclose(scores.var(axis=1) * ROWS / (share * (1 - share)), 1, atol=0.1)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(InputError, match="metric 'pearsson' is unknown; did you mean 'pearson'"):
        weighted_scores("pearsson", np.ones(2), np.ones((1, 2)), np.ones((2, 1)))
