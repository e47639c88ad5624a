"""The table of certificates: which merged methods cost what the bare backbone costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from gluelamp.records import Certificate
from gluelamp.reporting.markdown import literal
from gluelamp.reporting.pages import Grid, Page
from gluelamp.reporting.variants import flatten, variant_labels

PARTS = ("modules", "tensors", "operators", "flops")  # of a certificate's structure

_READING = (
    "A method passes if its model has the modules, tensors, operators and FLOPs of the bare backbone, and if "
    "the 95 % interval of the ratio of their times, measured in turns, contains 1.00 and is narrow. "
    "*control* is the ratio of a second bare copy, by the same measurement: it shows what chance does. Where "
    "the two models differ in a part, the bare backbone's number stands before the method's.",
    "The interval of one in twenty methods that cost nothing misses 1.00 by chance, so a method whose "
    "structure is right is timed again, a few times at most; the table shows the attempt that decided. "
    "`results/certificates` has all of them, pass by pass.",
)


def certificates_page(certificates: Sequence[Certificate]) -> Page:
    """Return the table, sorted by backbone and method.

    Args:
        certificates: at least one.
    """
    rows = _rows(certificates)
    times = ("ratio", "control")
    printed = rows.drop(columns=[f"{name}_{end}" for name in times for end in ("low", "high")])
    for name in times:
        printed[name] = [
            f"{ratio:.3f} [{low:.3f}, {high:.3f}]"
            for ratio, low, high in zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
        ]
    printed["method"] = rows["method"].map(literal)
    grid = Grid("", printed, texts=len(printed.columns) - len(times))
    return Page("certificates", "Certificates of zero added latency", _READING, rows, [grid])


def _rows(certificates: Sequence[Certificate]) -> pd.DataFrame:
    labels = variant_labels(
        [((one.backbone, one.method), one.method, flatten({"method": one.config})) for one in certificates]
    )
    rows = [_row(one, label) for one, label in zip(certificates, labels, strict=True)]
    return pd.DataFrame(rows).sort_values(["backbone", "method", "state"], ignore_index=True)


def _row(one: Certificate, label: str) -> dict[str, Any]:
    machine, protocol = one.machine, one.protocol
    return {
        "backbone": one.backbone,
        "method": label,
        "state": one.state,
        "verdict": one.verdict,
        **{part: _compared(one.structure[part]) for part in PARTS},
        "device": f"{machine['type']} ({machine['name']})",
        "dtype": machine["dtype"],
        "threads": str(machine["threads"]),
        "input": f"{protocol['batch']} x {protocol['length']}",
        "attempts": str(len(one.attempts)),
        **_interval("ratio", one.ratio),
        **_interval("control", one.control),
    }


def _compared(part: dict[str, Any]) -> str:
    base, candidate = part["base"], part["candidate"]
    if base != candidate:
        return f"{base:,} / {candidate:,}"
    return "same" if part.get("first_difference") is None else "differ"


def _interval(name: str, ratio: Any) -> dict[str, float]:
    return {name: ratio["estimate"], f"{name}_low": ratio["low"], f"{name}_high": ratio["high"]}
