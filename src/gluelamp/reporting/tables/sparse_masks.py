"""Sparse masks at equal budget: PaFi against task-specific masks and against controls."""

from __future__ import annotations

import pandas as pd

from gluelamp.reporting.labels import collapse_notes, scope_title
from gluelamp.reporting.rendering import COUNT, Number, Page, Table, Text, numbers, texts
from gluelamp.reporting.summary import SCOPE, SETTING_NOTE, common_settings
from gluelamp.reporting.tables.paired import compared_rows, difference_tables, score_cells

PAFI = "pafi"
CONTROLS = ("sparse_random", "sparse_largest", "sparse_middle")
"""Other masks that do not depend on the task."""
TASK_SPECIFIC = ("fish", "lt_sft", "diff_pruning")
MASKS = (PAFI, *CONTROLS, *TASK_SPECIFIC)

SECTION = [*SCOPE, "selection", "trained"]
_SIZES = {"trained": "trained", "bytes": "method_bytes", "shared bytes": "shared_bytes"}
_READING = (
    "Masks with the same number of trained values, on the same rows. *Trained* is this number; *bytes* are "
    "what one task stores in fp32: its values and, if the mask is task-specific, their positions. A mask for "
    "all tasks is stored once: *shared bytes*.",
    "Scores are times 100, with the 95 % interval over examples and seeds; with one seed, over examples "
    "alone. The number of seeds is after a score where numbers differ. Differences are method - `pafi`, "
    "paired by example; a mask is *better* or *worse* than `pafi` if p < 0.05 after Holm's correction over "
    "the masks of the column, otherwise it is a *tie*; with *one seed* there is no verdict.",
    SETTING_NOTE,
)


def sparse_rows(summary: pd.DataFrame, selection: str | None = None) -> pd.DataFrame:
    """Return one row per data, backbone, head, budget, mask and task, and one for the mean over tasks.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`; a budget without PaFi is skipped.
        selection: as for `gluelamp.reporting.summary.common_settings`.

    Returns:
        the columns of `gluelamp.reporting.tables.paired.compared_rows`, with PaFi as the reference;
        masks of one budget have the same ``trained``.
    """
    masks = summary[summary["method"].isin(MASKS)]
    masks = masks.assign(label=masks["method"], trained=masks["trained"].fillna(0))
    # Common settings are chosen per budget: one density of PaFi must not exclude the masks of another.
    tables = []
    for budget, rows in masks.groupby("trained"):
        for _, scope in common_settings(rows, selection).groupby(SCOPE, sort=False):
            if PAFI in set(scope["method"]):
                tables.append(compared_rows(scope, [PAFI]).assign(trained=budget))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def sparse_page(rows: pd.DataFrame) -> Page:
    """Return the page of `sparse_rows`."""
    tables = [table for _, scope in rows.groupby(SECTION, sort=False) for table in _tables(scope)]
    return Page("sparse_masks", "Sparse masks at equal budget", _READING, rows, tables)


def _tables(rows: pd.DataFrame) -> list[Table]:
    # In the order of MASKS: PaFi, its controls, the task-specific masks.
    masks = [mask for mask in MASKS if mask in set(rows["method"])]
    first = rows.drop_duplicates("method").set_index("method").loc[masks]
    sizes = {title: [Number(size, COUNT) for size in first[column]] for title, column in _SIZES.items()}
    columns = {"method": [Text(mask) for mask in masks], **sizes, **score_cells(rows, masks)}
    title, (method, *others) = scope_title(rows), columns
    lines = list(map(list, zip(*columns.values(), strict=True)))
    table = Table(title, [*texts(method), *numbers(*others)], lines, collapse_notes(rows, "label"))
    return [table, *difference_tables(rows, masks, PAFI, title)]
