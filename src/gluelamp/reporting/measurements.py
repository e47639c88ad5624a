"""The tables of what was counted and timed: parameters, latency and the bytes of X-PEFT's masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from gluelamp.records import MEASUREMENT_COLUMNS, Measurement
from gluelamp.reporting.counts import PublishedCount, beside
from gluelamp.reporting.markdown import markdown_table
from gluelamp.reporting.variants import flatten, variant_labels

_DECIMALS: Mapping[str, str] = {
    "trained_pct": ".4f",
    "median_ms": ".3f",
    "ratio_to_base": ".3f",
    "factor": ".1f",
    "factor_with_head": ".1f",
}
_TEXT_COLUMNS = {"parameters": 2, "latency": 5, "xpeft_bytes": 2}
_PUBLISHED: Mapping[str, list[str]] = {
    "parameters": ["published", "notes"],
    "latency": [],
    "xpeft_bytes": [],
}
_RESULTS = {*MEASUREMENT_COLUMNS["parameters"], *_PUBLISHED["parameters"], "median_ms", "ratio_to_base"}

_TITLES = {
    "parameters": "# Parameters and storage\n\nValues and bytes per task, without the task head, "
    "which stands in its own column; `shared_bytes` are stored once for all tasks. What a method chooses by "
    "its data is counted as if these said nothing. `published` is what papers print, and `notes` says how "
    "it compares; `results/published/counts` has the sources.\n",
    "latency": "# Latency\n\nMedian time of one forward pass in milliseconds, and its ratio to the "
    "bare backbone's.\n",
    "xpeft_bytes": "# Bytes of X-PEFT's masks\n\nWhat one profile stores, `mask_bytes`, beside one fp32 "
    "Pfeiffer adapter of the same bottleneck: `adapter_weight_bytes` without its biases, `adapter_bytes` "
    "with them. `factor` is the adapter's weights over the masks; `factor_with_head` has the head of "
    "`outputs` outputs on both sides. `formula_bytes` is 2 L ceil(N / 8) for hard masks, 8 N L for soft "
    "ones. The bank is stored once for all profiles; of a random one only what it takes to draw it again.\n",
}
_INTERVAL_NOTE = "In brackets: the interval of the ratio.\n"


def table_columns(kind: str) -> list[str]:
    """Return the columns of the table of one kind of measurement."""
    return ["backbone", "method", *MEASUREMENT_COLUMNS[kind], *_PUBLISHED[kind]]


def measurement_rows(
    measurements: Sequence[Measurement], counts: Sequence[PublishedCount] = ()
) -> pd.DataFrame:
    """Return the rows of all measurements of one kind, sorted by what was measured.

    Args:
        measurements: of one kind, at least one.
        counts: what papers print, to stand beside parameters.

    Returns:
        ``backbone``, ``method`` (with its variant where there are several), the columns of the kind
        and whatever else the rows hold.
    """
    labels = variant_labels(
        [((one.backbone, one.method), one.method, flatten({"method": one.config})) for one in measurements]
    )
    rows = [
        {
            **row,
            "backbone": one.backbone,
            "method": label,
            **(beside(one, row, counts) if one.kind == "parameters" else {}),
        }
        for one, label in zip(measurements, labels, strict=True)
        for row in one.rows
    ]
    order = [column for column in table_columns(measurements[0].kind) if column not in _RESULTS]
    # integers stay integers beside a missing value
    return pd.DataFrame(rows).convert_dtypes().sort_values(order, ignore_index=True)


def as_text(rows: pd.DataFrame, columns: Sequence[str], thousands: str = "") -> pd.DataFrame:
    """Return columns as text, each number in its fixed format.

    Args:
        rows: the rows of :func:`measurement_rows`.
        columns: the columns to print.
        thousands: the separator of thousands, ``","`` or none.
    """

    def cell(column: str, value: object) -> str:
        if isinstance(value, str):
            return value
        return "" if pd.isna(value) else format(value, thousands + _DECIMALS.get(column, "d"))

    return pd.DataFrame({name: [cell(name, value) for value in rows[name]] for name in columns})


def measurement_page(kind: str, rows: pd.DataFrame) -> str:
    """Return the Markdown page of one kind of measurement.

    Args:
        kind: one of `MEASUREMENT_COLUMNS`.
        rows: the rows of :func:`measurement_rows`.
    """
    cells = as_text(rows, table_columns(kind), thousands=",")
    parts = [_TITLES[kind]]
    has_intervals = {"ratio_low", "ratio_high"} <= set(rows.columns)
    if has_intervals:
        cells["ratio_to_base"] += _intervals(rows)
    lines = cells.to_numpy().tolist()
    parts.append(markdown_table(list(cells.columns), lines, _TEXT_COLUMNS[kind], len(_PUBLISHED[kind])))
    return "\n".join([*parts, _INTERVAL_NOTE] if has_intervals else parts)


def _intervals(rows: pd.DataFrame) -> list[str]:
    return [
        "" if pd.isna(low) or pd.isna(high) else f" [{low:.3f}, {high:.3f}]"
        for low, high in zip(rows["ratio_low"], rows["ratio_high"], strict=True)
    ]
