"""The table that ``gluelamp compare`` prints."""

from __future__ import annotations

from typing import Any

import pandas as pd

from gluelamp.reporting.rendering import (
    DIFFERENCE,
    EMPTY,
    POINTS,
    Cell,
    Format,
    Number,
    Table,
    Text,
    escape,
    numbers,
    texts,
)
from gluelamp.reporting.signature import common_signature, parse_signature
from gluelamp.reporting.statistics import COLLAPSED_FRACTION
from gluelamp.reporting.statistics.metrics import ERRORS

_P = Format(significant=2)


def comparison_table(rows: pd.DataFrame) -> Table:
    """Return the table of `gluelamp.reporting.compare.compare`: a line per system."""
    baseline = rows.loc[rows["verdict"].isna(), "system"].iloc[0]
    is_error = rows["metric"].iloc[0] in ERRORS
    score = Format(decimals=3) if is_error else POINTS
    difference = Format(decimals=3, sign=True) if is_error else DIFFERENCE
    lines = [_line(row, score, difference) for row in rows.to_dict("records")]
    stated = parse_signature(rows["signature"].iloc[0])
    unit = "in units of the labels, less is better" if is_error else "times 100"
    level = 100 * float(stated["level"])
    metric, size = stated["metric"].replace("_", " "), f"{int(stated['rows']):,} rows"
    title = f"{metric}, {unit}, {size}, {level:g} % intervals"
    columns = [*texts("system"), *numbers("score", "seeds", f"difference to {baseline}", "p (Holm)")]
    return Table(title, [*columns, *texts("verdict")], lines, _notes(rows), common_signature(rows))


def _line(row: dict[Any, Any], score: Format, difference: Format) -> list[Cell]:
    cells: list[Cell] = [
        Text(row["system"]),
        Number(row["score"], score, row["low"], row["high"]),
        Number(row["seeds"]),
    ]
    if pd.isna(row["verdict"]):
        return [*cells, EMPTY, EMPTY, EMPTY]
    bounds = (row["difference_low"], row["difference_high"])
    return [
        *cells,
        Number(row["difference"], difference, *bounds),
        Number(row["p_holm"], _P),
        Text(row["verdict"]),
    ]


def _notes(rows: pd.DataFrame) -> list[str]:
    notes = ["A tie is inconclusive: read the interval."]
    if (rows["seeds"] < 2).any():
        notes.append("A comparison with a system of one seed covers other examples, not other seeds.")
    collapsed = rows[rows["collapsed"] > 0]
    if len(collapsed):
        found = ", ".join(
            f"{escape(row['system'])} {row['collapsed']} of {row['seeds']}"
            for row in collapsed.to_dict("records")
        )
        notes.append(f"Seeds with one prediction on {100 * COLLAPSED_FRACTION:g} % of the rows: {found}.")
    return notes
