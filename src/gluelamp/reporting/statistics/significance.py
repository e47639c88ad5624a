"""Comparisons of methods on the same rows, corrected for their number, and the ranks that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.reporting.statistics.intervals import (
    LEVEL,
    Estimate,
    Predictions,
    SeedScores,
    estimate,
    score_estimate,
)

COLUMNS = ["method", "difference", "low", "high", "p", "p_holm", "verdict", "seeds", "collapsed"]

TIES_NOTE = (
    "Bold: no method is significantly better (p < 0.05 after Holm's correction over all comparisons of the "
    "method), so its rank can be 1. The test is a bootstrap paired by example, with the error over seeds "
    "added. By chance, a truly best method is not bold in at most about 5 of 100 columns. Where a method has "
    "one seed, the test covers other examples only, not other seeds."
)


def difference(first: Predictions, second: Predictions, pair_seeds: bool = False) -> Estimate:
    """Return first - second of the mean scores, by a bootstrap that is paired by example.

    Both methods are scored on the same resamples of the rows. By default seeds are not paired, although runs
    with the same seed share the order of the examples: three pairs have two degrees of freedom, half of those
    of six runs. If runs with the same seed are correlated, these intervals are wider than necessary. See
    `gluelamp.reporting.statistics.intervals.estimate`.

    Args:
        first: of one method.
        second: of the other.
        pair_seeds: whether runs with the same seed are paired, if both sides have the same seeds. It is for
            two trainings of one method, such as on two machines, whose runs are strongly correlated.

    Raises:
        InputError: if the rows or the metrics differ.
    """
    if first.metric != second.metric or not np.array_equal(first.labels, second.labels):
        raise InputError("Two methods can be compared only in the same metric on the same rows.")
    scores, resampled = first.scores.mean() - second.scores.mean(), first.resampled.mean(axis=0)
    sides: list[SeedScores] = [first, second]
    if pair_seeds and first.seeds == second.seeds:
        sides = [
            SeedDifferences(first.seeds, first.scores - second.scores, first.resampled - second.resampled)
        ]
    return estimate(scores, resampled - second.resampled.mean(axis=0), sides)


@dataclass(frozen=True, eq=False)
class SeedDifferences:
    """The differences of two methods, seed by seed; see `SeedScores`."""

    seeds: tuple[int, ...]
    scores: np.ndarray
    resampled: np.ndarray


def compare_all(methods: Mapping[str, Predictions], reference: str, level: float = LEVEL) -> pd.DataFrame:
    """Compare each method with a reference; Holm's correction is over these comparisons.

    Args:
        methods: predictions by method, on the same rows.
        reference: one of the methods.
        level: confidence level of the intervals; a verdict is significant at 1 - level.

    Returns:
        One row per other method, in their order: ``method``, ``difference`` (method - reference), ``low``
        and ``high`` (not corrected), ``p``, ``p_holm``, ``verdict`` (``better`` or ``worse`` than the
        reference where ``p_holm`` < 1 - level, else ``tie``), ``seeds`` (the smaller number of the two) and
        ``collapsed`` (the number of such runs of both).

    Raises:
        InputError: if the reference is not one of the methods, or rows or metrics differ.
    """
    if reference not in methods:
        raise unknown("method", reference, methods)
    right = methods[reference]
    rows: list[dict[str, Any]] = []
    for name, left in methods.items():
        if name != reference:
            result = difference(left, right)
            counts = {
                "seeds": min(len(left.seeds), len(right.seeds)),
                "collapsed": left.collapsed + right.collapsed,
            }
            low, high = result.interval(level)
            row = {"low": low, "high": high, "p": result.p, **counts}
            rows.append({"method": name, "difference": result.value, **row})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["p_holm"] = holm(frame["p"])
    frame["verdict"] = [
        verdict(value, p, right.lower_is_better, level)
        for value, p in zip(frame["difference"], frame["p_holm"], strict=True)
    ]
    return frame


def holm(p: Sequence[float] | pd.Series) -> np.ndarray:
    """Return p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    values = np.asarray(p, dtype=np.float64)
    # Step-down: the smallest p is multiplied by n, the next by n - 1, and so on. A corrected p is never
    # smaller than that of a smaller p, so the order of the p-values is preserved.
    order = values.argsort()
    stepped = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(stepped).clip(max=1)
    return corrected


def verdict(value: float, p: float, lower_is_better: bool = False, level: float = LEVEL) -> str:
    """Return ``better`` or ``worse`` for a significant difference to a reference, else ``tie``."""
    # Written so that a p of NaN gives a tie.
    if not p < 1 - level:
        return "tie"
    return "better" if (value > 0) != lower_is_better else "worse"


def rank_intervals(methods: Mapping[str, Predictions]) -> pd.DataFrame:
    """Return the rank of each method with its 95 % interval.

    The interval starts after the methods that are better and ends before those that are worse, each by a
    test corrected over all comparisons of this method (Mogstad, Romano, Shaikh and Wilhelm, "Inference for
    Ranks", Review of Economic Studies 91, 2024: intervals of ranks from those of the differences). It holds
    for one method at a time, not for all ranks at once.

    Args:
        methods: predictions by method, on the same rows.

    Returns:
        One row per method, best first: ``method``, ``rank`` (of the mean over seeds; equal means share the
        better rank), ``rank_low`` and ``rank_high``, from 1.
    """
    means = {name: score_estimate(one).value for name, one in methods.items()}
    # Each method has its own family of comparisons, so the intervals of two methods may disagree about
    # their order. That is the price of an interval that holds for one method at a time.
    rows = []
    for name, one in methods.items():
        verdicts = compare_all(methods, name)["verdict"]  # of the other methods against this one
        better, worse = int((verdicts == "better").sum()), int((verdicts == "worse").sum())
        ahead = sum(
            mean < means[name] if one.lower_is_better else mean > means[name] for mean in means.values()
        )
        rows.append((name, 1 + ahead, 1 + better, len(methods) - worse))
    frame = pd.DataFrame(rows, columns=["method", "rank", "rank_low", "rank_high"])
    return frame.sort_values(["rank", "method"], ignore_index=True)


def comparable(methods: Mapping[str, Predictions | None]) -> dict[str, Predictions]:
    """Return the predictions if all methods have them on the same rows, else nothing.

    Ranks and bold type among only some of the methods would be misleading.
    """
    # The labels identify the rows: methods on a subset, or on another version of the data, have others.
    present = {name: one for name, one in methods.items() if one is not None}
    rows = {one.labels.tobytes() for one in present.values()}
    return present if len(present) == len(methods) and len(rows) == 1 else {}


def possibly_best(methods: Mapping[str, Predictions]) -> set[str]:
    """Return the methods without a better one; that with the best mean is always among them."""
    ranks = rank_intervals(methods)
    return set(ranks.loc[ranks["rank_low"] == 1, "method"])
