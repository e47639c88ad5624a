"""Sparse masks at equal budget: PaFi against task-specific masks and against controls."""

from __future__ import annotations

import pandas as pd

from gluelamp.reporting.labels import collapse_notes, scope_title
from gluelamp.reporting.rendering import COUNT, Cell, Format, Page, Range, Table, Text, numbers, texts
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.summary import SCOPE, SETTING_NOTE, common_settings
from gluelamp.reporting.tables.paired import compared_rows, difference_tables, score_cells
from gluelamp.reporting.training_data import training_data_notes

PAFI = "pafi"
CONTROLS = ("sparse_random", "sparse_largest", "sparse_middle")
"""Other masks that do not depend on the task."""
TASK_SPECIFIC = ("fish", "lt_sft", "diff_pruning")
MASKS = (PAFI, *CONTROLS, *TASK_SPECIFIC)

SECTION = [*SCOPE, "selection", "trained"]
_SIZES = {"trained": "trained", "bytes": "method_bytes", "shared bytes": "shared_bytes"}
_ONE_DECIMAL = Format(decimals=1)
_SHOWN = {title: (column, COUNT) for title, column in _SIZES.items()} | {
    "% live": ("live_pct", _ONE_DECIMAL),
    "epochs, all phases": ("total_epochs", _ONE_DECIMAL),
}
_READING = (
    "Masks with the same number of trained values, on the same rows. *Trained* is this number; *bytes* are "
    "what one task stores in fp32: its values and, if the mask is task-specific, their positions. A mask for "
    "all tasks is stored once: *shared bytes*.",
    "*% live* is the percentage of the trained values that a gradient other than zero ever reached, from the "
    "least to the most over the tasks. The others, above all those in the embeddings of tokens and positions "
    "that no training row has, stay what they were. *epochs, all phases* counts the passes over the training "
    "rows, forward and backward, with those of the preliminary phases that find a mask: the squared "
    "gradients of `fish`, the fine-tuning of all weights of `lt_sft`, the gated differences of "
    "`diff_pruning`.",
    "Tables *at equal live values* and *at equal training compute* compare `pafi` with a higher density, or "
    "with more epochs, with the setting of each other mask that is nearest to it, at most 10 % away.",
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
    masks = mask_rows(summary)
    # Common settings are chosen per budget: one density of PaFi must not exclude the masks of another.
    tables = []
    for budget, rows in masks.groupby("trained"):
        for _, scope in common_settings(rows, selection).groupby(SCOPE, sort=False):
            if PAFI in set(scope["method"]):
                tables.append(compared_rows(scope, [PAFI]).assign(trained=budget))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def mask_rows(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary that belong to masks, with ``label`` and a number of trained values."""
    masks = summary[summary["method"].isin(MASKS)]
    return masks.assign(label=masks["method"], trained=masks["trained"].fillna(0))


def sparse_page(rows: pd.DataFrame, matched: pd.DataFrame) -> Page:
    """Return the page of the comparisons of masks.

    Args:
        rows: of `sparse_rows`.
        matched: of `gluelamp.reporting.tables.matched_masks.matched_rows`.
    """
    tables = [table for _, scope in rows.groupby(SECTION, sort=False) for table in _tables(scope)]
    if len(matched):
        for (equal, *_), scope in matched.groupby(["equal", *SCOPE, "selection"], sort=False):
            tables += _tables(scope, f"at equal {equal}")
    data = pd.concat([rows.assign(equal="trained values"), matched], ignore_index=True)
    return Page("sparse_masks", "Sparse masks at equal budget", _READING, data, tables)


def _tables(rows: pd.DataFrame, matched: str = "") -> list[Table]:
    # In the order of MASKS: PaFi, its controls, the task-specific masks.
    masks = [mask for mask in MASKS if mask in set(rows["method"])]
    # The least and the most over the tasks.
    by_mask = rows.groupby("method")
    sizes: dict[str, list[Cell]] = {
        title: [Range(low[mask], high[mask], shown) for mask in masks]
        for title, (column, shown) in _SHOWN.items()
        for low, high in [(by_mask[column].min(), by_mask[column].max())]
    }
    columns = {"method": [Text(mask) for mask in masks], **sizes, **score_cells(rows, masks)}
    title, (method, *others) = scope_title(rows) + (f", {matched}" if matched else ""), columns
    lines = list(map(list, zip(*columns.values(), strict=True)))
    notes = [*training_data_notes(rows), *collapse_notes(rows, "label")]
    table = Table(title, [*texts(method), *numbers(*others)], lines, notes, common_signature(rows))
    return [table, *difference_tables(rows, masks, PAFI, title)]
