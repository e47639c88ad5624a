"""Sparse masks at equal budget: PaFi's against those that look at the task, and against its controls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gluelamp.records import FoundRun
from gluelamp.reporting.entries import SETTING_NOTE, entries
from gluelamp.reporting.formats import count, scope_title
from gluelamp.reporting.pages import Grid, Page
from gluelamp.reporting.paired import compared_rows
from gluelamp.reporting.paired_columns import difference_grids, task_columns

PAFI = "pafi"
CONTROLS = ("sparse_random", "sparse_largest", "sparse_middle")
"""Masks that do not look at the task either."""
TASK_SPECIFIC = ("fish", "lt_sft", "diff_pruning")
MASKS = (PAFI, *CONTROLS, *TASK_SPECIFIC)

SCOPE = ["data", "backbone", "selection", "trained"]
_READING = (
    "Masks that free the same number of values, on the same rows. *Trained* is the budget; *bytes* are what "
    "a task stores in fp32: its values and, where the mask is its own, their positions too. A mask common to "
    "all tasks is stored once: *shared bytes*.",
    "Scores are times 100, with the 95 % interval over examples and seeds; of one seed over examples alone. "
    "Behind a score stands its number of seeds, where they differ. Differences are paired by example; a "
    "mask is *better* or *worse* than `pafi` where p < 0.05 after Holm's correction over the masks of the "
    "column, else it is a *tie*; with *one seed* there is no such word.",
    SETTING_NOTE,
)


def sparse_rows(runs: Sequence[FoundRun], selection: str | None = None) -> pd.DataFrame:
    """Return one row per data, backbone, budget, mask and task, and one for the mean over tasks.

    Args:
        runs: all runs; a budget at which PaFi did not run is passed over.
        selection: as for :func:`gluelamp.reporting.entries.entries`.

    Returns:
        the columns of :func:`gluelamp.reporting.paired.compared_rows`, against PaFi; equal budgets have the
        same ``trained``.
    """
    budgets: dict[int, list[FoundRun]] = {}
    for run in runs:
        if run[1].config["method"]["name"] in MASKS and run[1].status == "complete":
            budgets.setdefault(run[1].parameters.get("trained", 0), []).append(run)
    tables = [
        compared_rows(some, [PAFI]).assign(trained=budget)
        for budget in sorted(budgets)
        for some in entries(budgets[budget], selection=selection).values()
        if any(entry.method == PAFI for entry in some)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def sparse_page(rows: pd.DataFrame) -> Page:
    """Return the page of :func:`sparse_rows`."""
    grids = [grid for _, of in rows.groupby(SCOPE, sort=False) for grid in _grids(of)]
    return Page("sparse_masks", "Sparse masks at equal budget", _READING, rows, grids)


def _grids(rows: pd.DataFrame) -> list[Grid]:
    masks = [mask for mask in MASKS if mask in set(rows["method"])]
    first = rows.drop_duplicates("method").set_index("method")
    sizes = {
        title: [count(first.loc[mask, column]) for mask in masks]
        for title, column in (
            ("trained", "trained"),
            ("bytes", "method_bytes"),
            ("shared bytes", "shared_bytes"),
        )
    }
    title = scope_title(rows)
    cells = pd.DataFrame({"method": masks, **sizes, **task_columns(rows, masks)})
    return [Grid(title, cells), *difference_grids(rows, masks, PAFI, title)]
