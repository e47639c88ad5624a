"""X-PEFT's table: kinds of masks and sizes of banks, their bytes, and their scores next to two references."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gluelamp.records import Measurement
from gluelamp.reporting.labels import collapse_notes, scope_title, task_name
from gluelamp.reporting.published_scores import legend
from gluelamp.reporting.rendering import (
    COUNT,
    EMPTY,
    POINTS,
    Cell,
    Number,
    Page,
    Range,
    Table,
    Text,
    numbers,
    texts,
)
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.summary import SCOPE, SETTING_NOTE, common_settings
from gluelamp.reporting.tables.paired import compared_rows, difference_tables, score_cells
from gluelamp.reporting.training_data import training_data_notes

PAPER_BACKBONE = "bert_base"
ADAPTER, HEAD_ONLY = "pfeiffer", "head_only"
REFERENCES = (ADAPTER, HEAD_ONLY)
SECTION = [*SCOPE, "selection"]

_READING = (
    "A profile of X-PEFT stores its masks (hard masks as bits, soft masks as fp32 weights) and its head; the "
    "bank of N frozen adapters is stored once for all profiles, and a random bank only as its seed and "
    "shapes. The two references: `pfeiffer` is one trained adapter of the same shape, `head_only` has no "
    "adapter.",
    "Scores are times 100, with the 95 % interval over examples and seeds; with one seed, over examples "
    "alone. Differences are method - reference, paired by example; *better* and *worse* mean p < 0.05 after "
    "Holm's correction over the lines of the column, otherwise it is a *tie*; with *one seed* there is no "
    "verdict. A tie with `pfeiffer` means little if `head_only` ties with it, too.",
    "The table of the X-PEFT paper is not available to this project: `results/published/README.md` explains "
    "how to add it.",
    SETTING_NOTE,
)


def xpeft_rows(
    summary: pd.DataFrame, measured: Sequence[Measurement], selection: str | None = None
) -> pd.DataFrame:
    """Return one row per data, backbone, head, label and task, and one for the mean over tasks.

    The paper's backbone is included without runs, too: with its bytes.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`; the references alone are skipped.
        measured: measurements of kind ``xpeft_bytes``.
        selection: as for `gluelamp.reporting.summary.common_settings`.

    Returns:
        the columns of `gluelamp.reporting.tables.paired.compared_rows` for both references, with
        ``mask`` (hard or soft) and ``num_adapters``; no row if there is nothing.
    """
    # Results without X-PEFT do not have these settings.
    rows = summary.reindex(
        columns=dict.fromkeys([*summary, "method.kind", "method.mask", "method.num_adapters"])
    )
    rows["has_bank"] = rows["method.kind"] == "XPeft"
    rows = rows[rows["has_bank"] | rows["method"].isin(REFERENCES)]
    names = zip(rows["method"], rows["method.num_adapters"], strict=True)
    rows = rows.assign(
        label=[f"{name} [num_adapters={size}]" if isinstance(size, str) else name for name, size in names]
    )
    scopes = [scope for _, scope in common_settings(rows, selection).groupby(SCOPE, sort=False)]
    scopes = [scope for scope in scopes if scope["has_bank"].any()]
    tables = [_scope_rows(scope) for scope in scopes]
    if PAPER_BACKBONE not in {scope["backbone"].iloc[0] for scope in scopes}:
        tables.append(_counted_rows([one for one in measured if one.backbone == PAPER_BACKBONE]))
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _scope_rows(scope: pd.DataFrame) -> pd.DataFrame:
    rows = compared_rows(scope, REFERENCES)
    options = scope.drop_duplicates("label").set_index("label")
    rows["mask"] = rows["label"].map(options["method.mask"])
    rows["num_adapters"] = rows["label"].map(pd.to_numeric(options["method.num_adapters"]))
    return rows


def _counted_rows(measured: Sequence[Measurement]) -> pd.DataFrame:
    """Return the sizes of a backbone without runs, with the two-layer head of a task of two classes."""
    # Two classes, as most tasks of GLUE: the head is stored per profile, too.
    counted = [
        (one, row)
        for one in measured
        for row in one.rows
        if (row["head"], row["outputs"]) == ("two_layer", 2)
    ]
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
        for one, row in counted
    ]
    references = [
        {"label": name, "method": name, "method_bytes": size, "head_bytes": row["head_bytes"]}
        for _, row in counted[:1]
        for name, size in ((ADAPTER, row["adapter_bytes"]), (HEAD_ONLY, 0))
    ]
    scope = {
        **{"data": "", "backbone": PAPER_BACKBONE, "head": "two_layer", "selection": "", "task": ""},
        **{"seen_datasets": "", "seeds": 0, "collapsed": 0, "signature": ""},
    }
    return pd.DataFrame([{**scope, "shared_bytes": 0, **row} for row in (*references, *masks)])


def xpeft_page(rows: pd.DataFrame, published: pd.DataFrame) -> Page:
    """Return the page of `xpeft_rows`.

    Args:
        rows: at least one.
        published: of `gluelamp.reporting.published_scores.closest_scores`.
    """
    tables = [table for _, scope in rows.groupby(SECTION, sort=False) for table in _tables(scope, published)]
    return Page("xpeft", "X-PEFT: masks, bytes and scores", _READING, rows, tables)


def _tables(rows: pd.DataFrame, published: pd.DataFrame) -> list[Table]:
    first = rows.drop_duplicates("label").assign(is_mask=lambda one: ~one["method"].isin(REFERENCES))
    first = first.sort_values(["is_mask", "method", "num_adapters"], kind="stable")
    labels, title = list(first["label"]), scope_title(rows)
    # The head depends on the number of classes, so its bytes differ between tasks; those of masks do not.
    heads = rows.groupby("label")["head_bytes"].agg(["min", "max"]).loc[labels]
    columns: dict[str, list[Cell]] = {
        "method": [Text(method) for method in first["method"]],
        "masks": [Text(mask) for mask in first["mask"].astype(object).fillna("")],
        "N": [Number(number, COUNT) for number in first["num_adapters"]],
        "bytes": [Number(size, COUNT) for size in first["method_bytes"]],
        "head bytes": [Range(low, high, COUNT) for low, high in heads.to_numpy()],
        "bank bytes": [Number(size, COUNT) for size in first["shared_bytes"]],
        **score_cells(rows, labels),
    }
    lines = list(map(list, zip(*columns.values(), strict=True)))
    methods = set(rows.loc[rows["mask"].notna(), "method"])
    published = published[
        (published["backbone"] == rows["backbone"].iloc[0]) & published["method"].isin(methods)
    ]
    # The papers' numbers may be of tasks without runs
    tasks = [task_name(task) for task in published["task"].unique()]
    added = [task for task in tasks if task not in columns]
    lines = [[*line, *[EMPTY] * len(added)] for line in lines]
    titles = [*columns, *added]
    for method, scores in published.groupby("method"):
        cells: dict[str, Cell] = {"method": Text(f"{method}, published")}
        for task, value, marks in zip(scores["task"], scores["value"], scores["marks"], strict=True):
            cells[task_name(task)] = Number(value, POINTS, marks=marks)
        lines.append([cells.get(column, EMPTY) for column in titles])
    marks = legend("".join(published["marks"]))
    notes = [*training_data_notes(rows), *marks, *collapse_notes(rows, "label")]
    header = [*texts(*titles[:2]), *numbers(*titles[2:])]
    table = Table(title, header, lines, notes, common_signature(rows))
    references = [one for one in REFERENCES if f"vs_{one}" in rows]
    return [table, *(table for one in references for table in difference_tables(rows, labels, one, title))]
