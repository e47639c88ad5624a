"""What can be said of a score, of two methods and of their order, from stored predictions.

A *cell* is one method on one task: the predictions of all its seeds, row by row. Rows are drawn again by a
bootstrap, the same draws for all cells of a task, so that methods are compared on the same rows.
"""

from gluelamp.reporting.statistics.cells import Cell, find_cell, read_cell
from gluelamp.reporting.statistics.comparisons import (
    Comparison,
    compare,
    compare_all,
    difference,
    holm,
    verdict,
)
from gluelamp.reporting.statistics.ranks import rank_intervals
from gluelamp.reporting.statistics.resampling import (
    Estimate,
    Interval,
    mean_estimate,
    score_estimate,
    score_interval,
)

__all__ = [
    "Cell",
    "Comparison",
    "Estimate",
    "Interval",
    "compare",
    "compare_all",
    "difference",
    "find_cell",
    "holm",
    "mean_estimate",
    "rank_intervals",
    "read_cell",
    "score_estimate",
    "score_interval",
    "verdict",
]
