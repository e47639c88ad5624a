"""Intervals, paired comparisons and ranks from stored predictions.

`Predictions` holds one method on one task: the predictions of all seeds, row by row. The rows are
resampled by a bootstrap, with the same resamples for all methods of a task, so that comparisons are paired.
"""

from gluelamp.reporting.statistics.intervals import (
    BOOTSTRAP_SEED,
    COLLAPSED_FRACTION,
    LEVEL,
    RESAMPLES,
    Estimate,
    Predictions,
    mean_estimate,
    score_estimate,
)
from gluelamp.reporting.statistics.metrics import MATTHEWS_CROSS_FITTED, ROC_AUC
from gluelamp.reporting.statistics.predictions import read_predictions
from gluelamp.reporting.statistics.significance import (
    TIES_NOTE,
    comparable,
    compare_all,
    difference,
    holm,
    possibly_best,
    rank_intervals,
    verdict,
)

__all__ = [
    "BOOTSTRAP_SEED",
    "COLLAPSED_FRACTION",
    "LEVEL",
    "MATTHEWS_CROSS_FITTED",
    "RESAMPLES",
    "ROC_AUC",
    "TIES_NOTE",
    "Estimate",
    "Predictions",
    "comparable",
    "compare_all",
    "difference",
    "holm",
    "mean_estimate",
    "possibly_best",
    "rank_intervals",
    "read_predictions",
    "score_estimate",
    "verdict",
]
