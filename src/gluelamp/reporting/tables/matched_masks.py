"""Sparse masks whose numbers of live values, or whose training compute, are about equal.

Masks with the same number of trained values may differ in both. PaFi's mask has positions in embeddings that
no training row reads, and LT-SFT trains all weights before its mask. So PaFi with a higher density, or with
more epochs, is compared with the other masks beside the comparison of `sparse_masks`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from gluelamp.reporting.labels import is_shared
from gluelamp.reporting.scores import table_settings
from gluelamp.reporting.summary import SCOPE, common_settings
from gluelamp.reporting.tables.paired import compared_rows
from gluelamp.reporting.tables.sparse_masks import PAFI, mask_rows

TOLERANCE = 0.1
"""Largest relative difference of two numbers that count as equal."""

LIVE, COMPUTE = "live values", "training compute"


def matched_rows(summary: pd.DataFrame, selection: str | None = None) -> pd.DataFrame:
    """Return the rows of all comparisons at equal live values and at equal training compute.

    Each setting of PaFi is a reference. Of each other mask it is compared, on each task, with the setting
    whose number is the nearest, if it is within `TOLERANCE`: of live values, with the same number of epochs;
    or of epochs in all phases, with the same number of trained values. A comparison in which nothing but
    the mask differs is part of `sparse_rows`, and is left out here.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`.
        selection: as for `gluelamp.reporting.summary.common_settings`.

    Returns:
        the columns of `gluelamp.reporting.tables.sparse_masks.sparse_rows`, and ``equal``: `LIVE` or
        `COMPUTE`, with the number of PaFi's trained values or epochs.
    """
    masks = mask_rows(summary)
    if masks.empty:
        return pd.DataFrame()
    masks["label"] = masks["method"] + " " + masks["trained"].astype(str)
    # A table of common settings has one number of epochs; here the settings of each number are needed.
    rows = pd.concat([common_settings(part, selection) for _, part in masks.groupby("epochs")])
    rows = rows.assign(
        label=rows["method"],
        live=rows["trained"].astype(float) * rows["live_pct"] / 100,
        training=_training(rows),
    )
    tables = []
    for _, scope in rows.groupby([*SCOPE, "selection", "training"], sort=False):
        is_pafi = scope["method"] == PAFI
        for (trained, epochs), pafi in scope[is_pafi].groupby(["trained", "epochs"]):
            others = scope[~is_pafi]
            live = _matched(pafi, others[others["epochs"] == epochs], "live")
            compute = _matched(pafi, others[others["trained"] == trained], "total_epochs")
            tables += [one.assign(equal=f"{LIVE}, {trained:,} trained by pafi") for one in live]
            tables += [one.assign(equal=f"{COMPUTE}, {epochs} epochs of pafi") for one in compute]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _training(rows: pd.DataFrame) -> list[str]:
    """Return the training settings of each row, without the number of epochs, as one text."""
    return [
        "\n".join(f"{key}={one[key]}" for key in sorted(one) if is_shared(key) and key != "trainer.epochs")
        for one in table_settings(rows)
    ]


def _matched(pafi: pd.DataFrame, others: pd.DataFrame, column: str) -> Iterator[pd.DataFrame]:
    """Yield the comparison of PaFi with the masks that have nearly its number in a column, if any."""
    # Without any other mask the result of `map` has no numeric type.
    wanted = others["task"].map(pafi.set_index("task")[column]).astype(float)
    distance = (others[column] / wanted - 1).abs()
    near = others.assign(distance=distance)[distance <= TOLERANCE]
    near = near.sort_values("distance", kind="stable").drop_duplicates(["method", "task"])
    setting = ["trained", "epochs"]
    if (near[setting] != pafi.iloc[0][setting]).any(axis=None):
        rows = pd.concat([pafi, near], ignore_index=True)
        epochs = dict(zip(rows["label"], rows["epochs"], strict=True))
        table = compared_rows(rows, [PAFI]).assign(place=lambda one: one["label"] != PAFI)
        # PaFi first: its number of epochs is in the title of the table.
        table = table.sort_values("place", kind="stable").drop(columns="place")
        yield table.assign(epochs=table["label"].map(epochs).astype("Int64"))
