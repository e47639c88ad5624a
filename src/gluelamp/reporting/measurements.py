"""The tables of what was counted and timed: one for each kind of measurement, and the certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gluelamp.records import MEASUREMENT_COLUMNS, Certificate, Measurement
from gluelamp.reporting.labels import flatten, variant_labels
from gluelamp.reporting.published_counts import PublishedCount, published_cells
from gluelamp.reporting.rendering import Cell, Column, Format, Number, Page, Table, Text, numbers, texts


@dataclass(frozen=True)
class MeasurementTable:
    """How the table of one kind of measurement is printed.

    Args:
        title: its heading.
        reading: what its columns mean.
        settings: the columns that identify what was measured; the others are results.
        published: columns of text at the end, from the papers.
    """

    title: str
    reading: str
    settings: Sequence[str] = ()
    published: Sequence[str] = ()


TABLES: Mapping[str, MeasurementTable] = {
    "parameters": MeasurementTable(
        "Parameters and storage",
        "Values and bytes per task, without the task head, which has its own column. `shared_bytes` are "
        "stored once for all tasks. A method that selects positions by the data of a task is counted with "
        "an untrained selection. `published` is what papers print, and `notes` compares it with our count. "
        "The sources are in `results/published/counts`.",
        published=("published", "notes"),
    ),
    "storage": MeasurementTable(
        "Storage",
        "Sizes of files on disk, in fp32. `counted_bytes`: the tensors that a task stores, without its head. "
        "`task_file_bytes`: the file with these tensors, the head and the file header. `shared_bytes`: the "
        "tensors that all tasks share. `shared_file_bytes`: their file.",
    ),
    "flops": MeasurementTable(
        "FLOPs",
        "Floating-point operations of matrix products per sample, by torch's counter: a forward pass of the "
        "bare backbone (*base*), of the method *unmerged* and *merged*, and forward and backward in "
        "*training*. The ratio is to the base.",
        settings=("state", "batch", "length"),
    ),
    "memory": MeasurementTable(
        "Memory",
        "Each state in a fresh process, in fp32. `model_bytes`: the tensors of the model. `step_bytes`: "
        "what an inference pass, or a step in *training*, adds at its peak: activations, gradients, the "
        "state of the optimiser and the buffers of libraries.",
        settings=("state", "device", "dtype", "batch", "length"),
    ),
    "latency": MeasurementTable(
        "Latency",
        "Median time of one forward pass in milliseconds, and its ratio to that of the bare backbone.",
        settings=("state", "device", "processor", "dtype", "threads", "batch", "length"),
    ),
    "xpeft_bytes": MeasurementTable(
        "Bytes of X-PEFT's masks",
        "`mask_bytes` are what one profile stores. They are compared with one fp32 Pfeiffer adapter of the "
        "same bottleneck: `adapter_weight_bytes` without its biases, `adapter_bytes` with them. `factor` is "
        "the adapter's weights over the masks; `factor_with_head` adds the head of `outputs` outputs to "
        "both. `formula_bytes` is 2 L ceil(N / 8) for hard masks and 8 N L for soft masks. The bank is "
        "stored once for all profiles; a random bank is stored as the numbers that generate it.",
        settings=("num_adapters", "head", "outputs"),
    ),
}

_DECIMALS: Mapping[str, int] = {
    "trained_pct": 4,
    "median_ms": 3,
    "ratio_to_base": 3,
    "factor": 1,
    "factor_with_head": 1,
}
_RATIO = Format(decimals=3)

STRUCTURE = ("modules", "tensors", "operators", "flops")
_CERTIFICATES = (
    "A method passes if its model has the modules, tensors, operators and FLOPs of the bare backbone, and "
    "if the 95 % interval of the ratio of their times contains 1.00 and is narrow. The two models are timed "
    "in turns. *control* is the ratio of a second bare backbone, measured in the same way: it shows the "
    "variation by chance. Where the two models differ in a part, the number of the bare backbone precedes "
    "that of the method.",
    "For one in twenty methods without any added latency, the interval misses 1.00 by chance. Therefore a "
    "method whose structure is equal is timed again, a few times at most. The table shows the decisive "
    "attempt; the folder `certificates` has all attempts, pass by pass.",
)


def measurement_pages(
    measurements: Mapping[str, Sequence[Measurement]], counts: Sequence[PublishedCount] = ()
) -> Iterator[Page]:
    """Yield the page of each kind of measurement that was made.

    Args:
        measurements: by kind.
        counts: what papers print of parameters.
    """
    for kind, layout in TABLES.items():
        if not measurements.get(kind):
            continue
        rows = measurement_rows(measurements[kind], counts)
        names = ["backbone", "method", *MEASUREMENT_COLUMNS[kind], *layout.published]
        # A column with one text is a column of texts; empty cells belong to either kind.
        columns = [Column(name, not any(isinstance(value, str) for value in rows[name])) for name in names]
        cells = [[_cell(name, row) for name in names] for row in rows.to_dict("records")]
        note = ["In brackets: the 95 % interval of the ratio."] if "ratio_low" in rows else []
        data = pd.DataFrame({name: [_csv_text(name, value) for value in rows[name]] for name in names})
        yield Page(kind, layout.title, [layout.reading], data, [Table("", columns, cells, note)])


def measurement_rows(
    measurements: Sequence[Measurement], counts: Sequence[PublishedCount] = ()
) -> pd.DataFrame:
    """Return the rows of all measurements of one kind, sorted by what was measured.

    Args:
        measurements: of one kind, at least one.
        counts: what papers print of parameters.

    Returns:
        ``backbone``, ``method`` (with its variant where there are several), the columns of the kind
        and all other fields of the rows.
    """
    rows = [
        {
            **row,
            "backbone": one.backbone,
            "method": label,
            **(published_cells(one, row, counts) if one.kind == "parameters" else {}),
        }
        for one, label in zip(measurements, _labels(measurements), strict=True)
        for row in one.rows
    ]
    order = ["backbone", "method", *TABLES[measurements[0].kind].settings]
    # With a missing value in its column, an integer would become a float; `convert_dtypes` prevents it.
    return pd.DataFrame(rows).convert_dtypes().sort_values(order, ignore_index=True)


def certificates_page(certificates: Sequence[Certificate]) -> Page:
    """Return the table of certificates, sorted by backbone and method.

    Args:
        certificates: at least one.
    """
    rows = [_certificate(one, label) for one, label in zip(certificates, _labels(certificates), strict=True)]
    # Two certificates of one method differ in the machine or the protocol, which have columns.
    data = pd.DataFrame(rows).sort_values(["backbone", "method", "state"], ignore_index=True)
    bounds = [f"{name}_{end}" for name in ("ratio", "control") for end in ("low", "high")]
    words = [name for name in data if name not in ("ratio", "control", *bounds)]
    cells: list[list[Cell]] = [
        [
            *(Text(str(row[name])) for name in words),
            *(
                Number(row[name], _RATIO, row[f"{name}_low"], row[f"{name}_high"])
                for name in ("ratio", "control")
            ),
        ]
        for row in data.to_dict("records")
    ]
    table = Table("", [*texts(*words), *numbers("ratio", "control")], cells)
    return Page("certificates", "Certificates of zero added latency", _CERTIFICATES, data, [table])


def _labels(measured: Sequence[Measurement] | Sequence[Certificate]) -> list[str]:
    return variant_labels(
        [((one.backbone, one.method), one.method, flatten({"method": one.config})) for one in measured]
    )


def _cell(name: str, row: Mapping[Any, Any]) -> Cell:
    value = row[name]
    if isinstance(value, str) or pd.isna(value):
        return Text("" if pd.isna(value) else value)
    if name == "ratio_to_base" and "ratio_low" in row:
        return Number(value, _RATIO, row["ratio_low"], row["ratio_high"])
    return Number(value, Format(decimals=_DECIMALS.get(name, 0)))


def _csv_text(name: str, value: Any) -> str:
    """Return a number with the decimals of its column: six, as in other CSV files, would claim too much."""
    if isinstance(value, str) or pd.isna(value):
        return "" if pd.isna(value) else str(value)
    return f"{value:.{_DECIMALS.get(name, 0)}f}"


def _certificate(one: Certificate, label: str) -> dict[str, Any]:
    machine, protocol = one.machine, one.protocol
    ratios = {"ratio": one.ratio, "control": one.control}
    return {
        "backbone": one.backbone,
        "method": label,
        "state": one.state,
        "verdict": one.verdict,
        **{part: _compared(one.structure[part]) for part in STRUCTURE},
        "device": f"{machine['type']} ({machine['name']})",
        "dtype": machine["dtype"],
        "threads": str(machine["threads"]),
        "input": f"{protocol['batch']} x {protocol['length']}",
        "attempts": str(len(one.attempts)),
        **{
            f"{name}{end}": ratio[key]
            for name, ratio in ratios.items()
            for end, key in (("", "estimate"), ("_low", "low"), ("_high", "high"))
        },
    }


def _compared(part: Mapping[str, Any]) -> str:
    base, candidate = part["base"], part["candidate"]
    if base != candidate:
        return f"{base:,} / {candidate:,}"
    return "same" if part.get("first_difference") is None else "differ"
