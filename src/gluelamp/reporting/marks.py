"""The small letters that say how a published number differs from ours, and their legend."""

from __future__ import annotations

import pandas as pd

PROTOCOL_MARKS = {"dev from MNLI": "ᵐ", "held-out part of dev": "ᵖ", "test": "ᵗ", "unstated split": "ˢ"}
"""By class of protocol; ``dev`` has none."""
METRIC_MARK = "ᶠ"
BEST_EPOCH_MARK = "ᵇ"
HEAD_MARKS = {"yes": "ʰ", "unstated": "ᵘ", "no": ""}
"""By what a source says of the head in its count."""

LEGEND = {
    PROTOCOL_MARKS["dev from MNLI"]: "trained on MNLI first; ours never are: no gap",
    BEST_EPOCH_MARK: "on the whole development set, as far as known at its best epoch there, which flatters; "
    "ours is held out",
    METRIC_MARK: "another metric than ours (F1 against accuracy, both sets of MNLI together, Spearman or a "
    "mean of two correlations, or one not named): no gap",
    PROTOCOL_MARKS["held-out part of dev"]: "on a held-out part of the development set: no gap",
    PROTOCOL_MARKS["test"]: "on the benchmark server's test set: no gap",
    PROTOCOL_MARKS["unstated split"]: "the source does not say on which split: no gap",
    HEAD_MARKS["yes"]: "the task head is counted; ours is without",
    HEAD_MARKS["unstated"]: "whether the head is counted is not stated",
}


def legend(cells: pd.DataFrame) -> list[str]:
    """Return what the marks mean that stand in printed cells."""
    text = "".join(cell for column in cells for cell in cells[column])
    return [f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in text]
