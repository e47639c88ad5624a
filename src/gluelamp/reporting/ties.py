"""Which scores cannot be told apart from the best one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RULE = (
    "Bold: the best mean of a task and every method that cannot be told apart from it. "
    "With three or more seeds each: Welch's t-test, p > 0.05. With fewer: the approximate 95 % "
    "intervals from the size n of the evaluation set overlap (mean ± 1.96 standard errors; "
    "sqrt(p (1 - p) / n) for accuracy and F1, (1 - r²) / sqrt(n - 1) for correlations)."
)
_SEEDS_FOR_A_TEST = 3
_SIGNIFICANCE = 0.05
_CORRELATIONS = frozenset({"matthews_correlation", "pearson", "spearman"})


@dataclass(frozen=True)
class Score:
    """One cell of the table.

    Args:
        metric: the name of the metric.
        mean: mean over seeds, as a fraction.
        std: sample standard deviation over seeds; NaN for one seed.
        seeds: number of seeds.
        examples: number of evaluation examples; NaN where the record does not say.
    """

    metric: str
    mean: float
    std: float
    seeds: int
    examples: float


def best_and_ties(scores: Sequence[Score]) -> list[bool]:
    """Return, per score of one task, whether it is the best or cannot be told apart from it.

    Args:
        scores: the scores of all methods on one task, in one metric of which more is better.
    """
    finite = [score for score in scores if not math.isnan(score.mean)]
    if not finite:
        return [False] * len(scores)
    best = max(finite, key=lambda score: score.mean)
    return [not math.isnan(score.mean) and _is_tie(best, score) for score in scores]


def _is_tie(best: Score, other: Score) -> bool:
    if other.mean == best.mean:
        return True
    if min(best.seeds, other.seeds) < _SEEDS_FOR_A_TEST:
        return other.mean + _half_interval(other) >= best.mean - _half_interval(best)
    from scipy.stats import ttest_ind_from_stats  # slow to import, and seldom needed

    test = ttest_ind_from_stats(
        best.mean, best.std, best.seeds, other.mean, other.std, other.seeds, equal_var=False
    )
    return bool(test.pvalue > _SIGNIFICANCE)


def _half_interval(score: Score) -> float:
    if math.isnan(score.examples):
        return 0.0
    if score.metric in _CORRELATIONS:
        return 1.96 * (1 - score.mean**2) / math.sqrt(max(score.examples - 1, 1))
    return 1.96 * math.sqrt(score.mean * (1 - score.mean) / score.examples)
