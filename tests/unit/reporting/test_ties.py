"""Ties: what cannot be told apart from the best."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gluelamp.reporting.ties import Score, best_and_ties

NAN = math.nan


def one_seed(mean: float, metric: str = "accuracy", examples: float = 400) -> Score:
    return Score(metric, mean, NAN, 1, examples)


def of_seeds(values: list[float]) -> Score:
    return Score("accuracy", float(np.mean(values)), float(np.std(values, ddof=1)), len(values), 400)


def test_with_one_seed_overlapping_intervals_of_the_evaluation_set_tie() -> None:
    # n = 400: 1.96 sqrt(0.8 * 0.2 / 400) = 0.0392 and 1.96 sqrt(0.73 * 0.27 / 400) = 0.0435
    scores = [one_seed(0.80), one_seed(0.73), one_seed(0.70)]
    assert best_and_ties(scores) == [True, True, False]


def test_correlations_have_the_interval_of_a_correlation() -> None:
    # n = 101: 1.96 (1 - 0.81) / 10 = 0.0372 and 1.96 (1 - 0.7225) / 10 = 0.0544 for a gap of 0.05
    for metric in ("matthews_correlation", "pearson", "spearman"):
        pair = [one_seed(0.90, metric, 101), one_seed(0.85, metric, 101)]
        assert best_and_ties(pair) == [True, True]
        pair = [one_seed(0.90, metric, 101), one_seed(0.78, metric, 101)]
        assert best_and_ties(pair) == [True, False]


@pytest.mark.parametrize("shift", [0.004, 0.02])
def test_with_three_seeds_welchs_test_decides(shift: float) -> None:
    best, other = [0.800, 0.805, 0.811], [value - shift for value in (0.799, 0.806, 0.810)]
    expected = stats.ttest_ind(best, other, equal_var=False).pvalue > 0.05
    assert best_and_ties([of_seeds(best), of_seeds(other)]) == [True, expected]
    assert expected == (shift < 0.01)


def test_seeds_that_all_agree_are_told_apart_unless_their_means_are_equal() -> None:
    same = [0.8, 0.8, 0.8]
    scores = [of_seeds(same), of_seeds(same), of_seeds([0.79, 0.79, 0.79])]
    assert best_and_ties(scores) == [True, True, False]


def test_a_score_that_is_not_a_number_is_never_best() -> None:
    assert best_and_ties([one_seed(NAN), one_seed(0.5)]) == [False, True]
    assert best_and_ties([one_seed(NAN)]) == [False]
