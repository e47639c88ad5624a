"""The tables of what was counted and timed, one for each kind of measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from gluelamp.records import MEASUREMENT_COLUMNS, Measurement
from gluelamp.reporting.counts import PublishedCount, beside
from gluelamp.reporting.markdown import literal
from gluelamp.reporting.pages import Grid, Page
from gluelamp.reporting.variants import flatten, variant_labels


@dataclass(frozen=True)
class Layout:
    """How the table of one kind of measurement is printed.

    Args:
        title: its heading.
        reading: what its columns mean.
        settings: the columns that say what was measured; the others are results.
        texts: how many leading columns are text.
        notes: columns of text at the end, from the papers.
    """

    title: str
    reading: str
    settings: Sequence[str] = ()
    texts: int = 2
    notes: Sequence[str] = ()


LAYOUTS: Mapping[str, Layout] = {
    "parameters": Layout(
        "Parameters and storage",
        "Values and bytes per task, without the task head, which stands in its own column; `shared_bytes` "
        "are stored once for all tasks. What a method chooses by its data is counted as if these said "
        "nothing. `published` is what papers print, and `notes` says how it compares; "
        "`results/published/counts` has the sources.",
        notes=("published", "notes"),
    ),
    "storage": Layout(
        "Storage",
        "Files really written, in fp32. `counted_bytes` are those of the tensors that a task stores, without "
        "its head; `task_file_bytes` of the file with both, and its header; `shared_bytes` of the tensors "
        "that all tasks share, and `shared_file_bytes` of their file.",
    ),
    "flops": Layout(
        "FLOPs",
        "Operations a sample in products of matrices, by torch's counter: a forward pass of the bare "
        "backbone (*base*), of the method *unmerged* and *merged*, and forward and backward in *training*. "
        "The ratio is to the base.",
        settings=("state", "batch", "length"),
        texts=3,
    ),
    "memory": Layout(
        "Memory",
        "Each state in a fresh process, fp32. `model_bytes` are those of the model's tensors; `step_bytes` "
        "come on top at the peak of an inference pass, or of a step in *training*: activations, gradients, "
        "the optimiser's state and the libraries' buffers.",
        settings=("state", "device", "dtype", "batch", "length"),
        texts=5,
    ),
    "latency": Layout(
        "Latency",
        "Median time of one forward pass in milliseconds, and its ratio to the bare backbone's.",
        settings=("state", "device", "processor", "dtype", "threads", "batch", "length"),
        texts=6,
    ),
    "xpeft_bytes": Layout(
        "Bytes of X-PEFT's masks",
        "What one profile stores, `mask_bytes`, beside one fp32 Pfeiffer adapter of the same bottleneck: "
        "`adapter_weight_bytes` without its biases, `adapter_bytes` with them. `factor` is the adapter's "
        "weights over the masks; `factor_with_head` has the head of `outputs` outputs on both sides. "
        "`formula_bytes` is 2 L ceil(N / 8) for hard masks, 8 N L for soft ones. The bank is stored once for "
        "all profiles; of a random one only what it takes to draw it again.",
        settings=("num_adapters", "outputs"),
    ),
}

_INTERVAL_NOTE = "In brackets: the interval of the ratio."
_DECIMALS: Mapping[str, str] = {
    "trained_pct": ".4f",
    "flops_per_sample": ".0f",
    "median_ms": ".3f",
    "ratio_to_base": ".3f",
    "factor": ".1f",
    "factor_with_head": ".1f",
}


def measurement_pages(
    measurements: Mapping[str, Sequence[Measurement]], counts: Sequence[PublishedCount] = ()
) -> Iterator[Page]:
    """Yield the page of each kind of measurement that there is.

    Args:
        measurements: by kind.
        counts: what papers print, to stand beside parameters.
    """
    for kind, layout in LAYOUTS.items():
        if measurements.get(kind):
            rows = measurement_rows(measurements[kind], counts)
            columns = table_columns(kind)
            printed = as_text(rows, columns, thousands=",").assign(method=rows["method"].map(literal))
            has_intervals = {"ratio_low", "ratio_high"} <= set(rows.columns)
            if has_intervals:
                printed["ratio_to_base"] += _intervals(rows)
            notes = [_INTERVAL_NOTE] if has_intervals else []
            grid = Grid("", printed, layout.texts, len(layout.notes), notes)
            yield Page(kind, layout.title, [layout.reading], as_text(rows, columns), [grid])


def table_columns(kind: str) -> list[str]:
    """Return the columns of the table of one kind of measurement."""
    return ["backbone", "method", *MEASUREMENT_COLUMNS[kind], *LAYOUTS[kind].notes]


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
    order = ["backbone", "method", *LAYOUTS[measurements[0].kind].settings]
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


def _intervals(rows: pd.DataFrame) -> list[str]:
    return [
        "" if pd.isna(low) or pd.isna(high) else f" [{low:.3f}, {high:.3f}]"
        for low, high in zip(rows["ratio_low"], rows["ratio_high"], strict=True)
    ]
