"""X-PEFT's table: kinds of masks and sizes of banks, what they store, and scores beside two yardsticks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gluelamp.records import FoundRun, Measurement, RunRecord
from gluelamp.reporting.entries import SETTING_NOTE, Entry, entries, method_name
from gluelamp.reporting.formats import count, points, scope_title, task_name
from gluelamp.reporting.pages import Grid, Page
from gluelamp.reporting.paired import compared_rows
from gluelamp.reporting.paired_columns import difference_grids, task_columns
from gluelamp.reporting.published import legend

PAPER_BACKBONE = "bert_base"
ADAPTER, BASELINE = "pfeiffer", "head_only"
REFERENCES = (ADAPTER, BASELINE)
SCOPE = ["data", "backbone", "selection"]

_READING = (
    "What a profile stores are its masks (hard ones are bits, soft ones fp32 weights) and its head; the bank "
    "of N frozen adapters is stored once for all, and of a random one only the few numbers that draw it "
    "again. Beside them the two yardsticks: `pfeiffer`, one trained adapter of the same shape, and "
    "`head_only`, no adapter at all.",
    "Scores are times 100, with the 95 % interval over examples and seeds; of one seed over examples alone. "
    "Differences are paired by example; *better* and *worse* are where p < 0.05 after Holm's "
    "correction over the lines of the column, else it is a *tie*; with *one seed* there is no such word. A "
    "tie with `pfeiffer` says little where `head_only` ties, too.",
    "X-PEFT's own table is not available to this project: `results/published/README.md` says how to fill it.",
    SETTING_NOTE,
)


def xpeft_rows(
    runs: Sequence[FoundRun], measured: Sequence[Measurement], selection: str | None = None
) -> pd.DataFrame:
    """Return one row per data, backbone, label and task, and one for the mean over tasks.

    The paper's own backbone is there without runs, too: with its bytes.

    Args:
        runs: all runs; where X-PEFT did not run, the yardsticks are passed over.
        measured: of kind ``xpeft_bytes``.
        selection: as for :func:`gluelamp.reporting.entries.entries`.

    Returns:
        the columns of :func:`gluelamp.reporting.paired.compared_rows` against both yardsticks, with ``mask``
        (hard or soft) and ``num_adapters``; no row if there is nothing.
    """
    chosen = [run for run in runs if run[1].status == "complete" and _belongs(run[1])]
    found = entries(chosen, _label, selection).values()
    scopes = [some for some in found if any(_has_bank(one.record) for one in some)]
    tables = [_scope_rows(some) for some in scopes]
    if all(some[0].backbone != PAPER_BACKBONE for some in scopes):
        tables += [_bytes_alone([one for one in measured if one.backbone == PAPER_BACKBONE])]
    tables = [rows for rows in tables if len(rows)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def xpeft_page(rows: pd.DataFrame, published: pd.DataFrame) -> Page:
    """Return the page of :func:`xpeft_rows`.

    Args:
        rows: at least one.
        published: of :func:`gluelamp.reporting.published.closest_scores`.
    """
    grids = [grid for _, of in rows.groupby(SCOPE, sort=False) for grid in _grids(of, published)]
    return Page("xpeft", "X-PEFT: masks, bytes and scores", _READING, rows, grids)


def _belongs(record: RunRecord) -> bool:
    return _has_bank(record) or method_name(record) in REFERENCES


def _has_bank(record: RunRecord) -> bool:
    return bool(record.config["method"].get("kind") == "XPeft")


def _label(record: RunRecord) -> str:
    number = record.config["method"].get("num_adapters")
    return method_name(record) + ("" if number is None else f" [num_adapters={number}]")


def _scope_rows(some: Sequence[Entry]) -> pd.DataFrame:
    rows = compared_rows(some, REFERENCES)
    options = {entry.label: entry.record.config["method"] for entry in some}
    for column in ("mask", "num_adapters"):
        rows[column] = [options[label].get(column) for label in rows["label"]]
    return rows


def _bytes_alone(measured: Sequence[Measurement]) -> pd.DataFrame:
    """The sizes of a backbone without runs, with the head of a task of two classes."""
    told = [(one, row) for one in measured for row in one.rows if row["outputs"] == 2]
    masks = [
        {
            "label": f"{one.method} [num_adapters={row['num_adapters']}]",
            "method": one.method,
            "mask": one.config.get("mask"),
            "num_adapters": row["num_adapters"],
            "method_bytes": row["mask_bytes"],
            "head_bytes": row["head_bytes"],
            "shared_bytes": row["bank_stored_bytes"],
        }
        for one, row in told
    ]
    yardsticks = [
        {"label": name, "method": name, "method_bytes": size, "head_bytes": row["head_bytes"]}
        for _, row in told[:1]
        for name, size in ((ADAPTER, row["adapter_bytes"]), (BASELINE, 0))
    ]
    scope = {"data": "", "backbone": PAPER_BACKBONE, "selection": "", "task": "", "seeds": 0}
    return pd.DataFrame([{**scope, "shared_bytes": 0, **row} for row in (*yardsticks, *masks)])


def _grids(rows: pd.DataFrame, published: pd.DataFrame) -> list[Grid]:
    lines = rows.drop_duplicates("label").assign(is_mask=~rows["method"].isin(REFERENCES))
    lines = lines.sort_values(["is_mask", "method", "num_adapters"], kind="stable")
    labels, title = list(lines["label"]), scope_title(rows)
    cells = pd.DataFrame(
        {
            "method": lines["method"].tolist(),
            "masks": lines["mask"].fillna("").tolist(),
            "N": list(map(count, lines["num_adapters"])),
            "bytes": list(map(count, lines["method_bytes"])),
            "head bytes": [_range(rows.loc[rows["label"] == label, "head_bytes"]) for label in labels],
            "bank bytes": list(map(count, lines["shared_bytes"])),
            **task_columns(rows, labels),
        }
    )
    cells = pd.concat([cells, _published(rows, published)], ignore_index=True).fillna("")
    compared = [reference for reference in REFERENCES if f"vs_{reference}" in rows]
    differences = [grid for one in compared for grid in difference_grids(rows, labels, one, title)]
    return [
        Grid(title, cells, texts=2, notes=legend("".join(map(str, cells.to_numpy().ravel())))),
        *differences,
    ]


def _range(sizes: pd.Series) -> str:
    return " to ".join(dict.fromkeys([count(sizes.min()), count(sizes.max())]))


def _published(rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """A line for each method of the scope that papers print, as columns of the printed table."""
    methods = set(rows.loc[rows["mask"].notna(), "method"])
    here = published[(published["backbone"] == rows["backbone"].iloc[0]) & published["method"].isin(methods)]
    lines = [
        {
            "method": f"{method}, published",
            **{task_name(task): points(value) + marks for task, value, marks in of},
        }
        for method, group in here.groupby("method")
        for of in [zip(group["task"], group["value"], group["marks"], strict=True)]
    ]
    return pd.DataFrame(lines, dtype=object)
