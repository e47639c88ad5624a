"""The places of methods, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from gluelamp.reporting.statistics.cells import Cell
from gluelamp.reporting.statistics.comparisons import compare_all
from gluelamp.reporting.statistics.resampling import score_interval


def rank_intervals(cells: Mapping[str, Cell]) -> pd.DataFrame:
    """Return the rank of each method with its 95 % interval.

    A method's interval begins behind the methods that are better than it, and ends before those that are
    worse, each by a test corrected over all comparisons of this method (Mogstad, Romano, Shaikh and Wilhelm,
    "Inference for Ranks", Review of Economic Studies 91, 2024: intervals of ranks from those of the
    differences). It holds for one method at a time, not for all ranks at once.

    Args:
        cells: by method, on the same rows.

    Returns:
        One row per method, best first: ``method``, ``rank`` (of the mean over its seeds; equal means share
        the better rank), ``rank_low`` and ``rank_high``, counted from 1.
    """
    means = {name: score_interval(cell).estimate for name, cell in cells.items()}
    rows = [{"method": name, **_place(cells, means, name)} for name in cells]
    frame = pd.DataFrame(rows, columns=["method", "rank", "rank_low", "rank_high"])
    return frame.sort_values(["rank", "method"], ignore_index=True)


def _place(cells: Mapping[str, Cell], means: Mapping[str, float], method: str) -> dict[str, int]:
    own, lower_is_better = means[method], cells[method].lower_is_better
    ahead = [mean < own if lower_is_better else mean > own for mean in means.values()]
    verdicts = compare_all(cells, method)["verdict"]  # of the others against this method
    better, worse = int((verdicts == "better").sum()), int((verdicts == "worse").sum())
    return {"rank": 1 + sum(ahead), "rank_low": 1 + better, "rank_high": len(cells) - worse}
