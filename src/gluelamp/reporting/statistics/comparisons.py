"""Method against method on the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.reporting.statistics.cells import Cell
from gluelamp.reporting.statistics.resampling import LEVEL, Estimate, estimate

COLUMNS = ["method", "difference", "low", "high", "p", "p_holm", "verdict", "seeds"]


@dataclass(frozen=True)
class Comparison:
    """A difference of two methods, the first minus the second.

    Args:
        difference: of their means over seeds.
        low: lower end of its 95 % interval, over examples and seeds; with one seed over examples alone.
        high: upper end.
        p: two-sided, of no difference.
        seeds: of the method that has fewer.
    """

    difference: float
    low: float
    high: float
    p: float
    seeds: int


def difference(first: Cell, second: Cell) -> Estimate:
    """Compare two methods by a bootstrap that is paired by example: both are scored on the same samples.

    Runs of one seed share the order of the examples, but seeds are not paired. Three pairs leave two degrees
    of freedom, half of what six runs leave. Where runs of one seed are alike, these intervals are wider than
    need be. See `gluelamp.reporting.statistics.resampling.estimate` for their making.

    Args:
        first: from which is subtracted.
        second: what is subtracted; in the same metric on the same rows.

    Raises:
        InputError: if the rows or the metrics differ.
    """
    if first.metric != second.metric or not np.array_equal(first.labels, second.labels):
        raise InputError("Two cells can be compared only in the same metric on the same rows.")
    return estimate(
        first.scores.mean() - second.scores.mean(),
        first.resampled.mean(axis=0) - second.resampled.mean(axis=0),
        [first, second],
    )


def compare(first: Cell, second: Cell) -> Comparison:
    """Return what there is to say of a `difference`."""
    found = difference(first, second)
    bounds = found.interval
    return Comparison(found.value, bounds.low, bounds.high, found.p, min(len(first.seeds), len(second.seeds)))


def compare_all(cells: Mapping[str, Cell], reference: str) -> pd.DataFrame:
    """Compare each method with a reference; the family of Holm's correction are these comparisons.

    Args:
        cells: by method, on the same rows.
        reference: one of the methods.

    Returns:
        One row per other method, in their order: ``method``, ``difference`` (to the reference), ``low`` and
        ``high`` (95 %, not corrected), ``p``, ``p_holm``, ``verdict`` (``better`` or ``worse`` than the
        reference where ``p_holm`` < 0.05, else ``tie``) and ``seeds``.

    Raises:
        InputError: if the reference is not among the methods, or rows or metrics differ.
    """
    if reference not in cells:
        raise unknown("method", reference, cells)
    found = {name: compare(cell, cells[reference]) for name, cell in cells.items() if name != reference}
    rows = [{"method": name, **vars(comparison)} for name, comparison in found.items()]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["p_holm"] = holm([comparison.p for comparison in found.values()])
    frame["verdict"] = [
        verdict(value, p, cells[reference].lower_is_better)
        for value, p in zip(frame["difference"], frame["p_holm"], strict=True)
    ]
    return frame


def holm(p: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    values = np.asarray(p, dtype=np.float64)
    order = values.argsort()
    stepped = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(stepped).clip(max=1)
    return corrected


def verdict(difference: float, p: float, lower_is_better: bool = False) -> str:
    """Return ``better`` or ``worse`` for a difference to a reference that is told apart, else ``tie``."""
    if not p < 1 - LEVEL:
        return "tie"
    return "better" if (difference > 0) != lower_is_better else "worse"
