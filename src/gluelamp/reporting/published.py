"""The papers' numbers, and which of them stands beside a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError

Cell = tuple[str, str, str, str]
"""Method, backbone, task and metric."""

COLUMNS = [
    "paper",
    "table",
    "method",
    "backbone",
    "protocol",
    "task",
    "metric",
    "value",
    "source",
]
_CELL = ["method", "backbone", "task", "metric"]

# Only scores on the whole development set compare with a run of the suite; of these, a run that
# started from an MNLI model speaks only where no other does.
_PREFERENCE = {"dev": 0, "dev from MNLI": 1}


def read_published(folder: Path) -> Mapping[Cell, float]:
    """Return the published score, as a fraction, of each cell that has a comparable one.

    Where several papers publish a cell: a run without MNLI start first, then the method's own
    paper, then the order of the files (by name) and of their rows.

    Args:
        folder: CSV files with the columns :data:`COLUMNS`, each named after the methods of its
            paper, such as ``lora.csv``; a folder that is missing holds no numbers.

    Raises:
        InputError: if a file has other columns, or a value is not a number.
    """
    files = sorted(folder.glob("*.csv"))
    if not files:
        return {}
    rows = pd.concat([_read(file) for file in files], ignore_index=True)
    rows["preference"] = rows["protocol"].str.partition(";")[0].map(_PREFERENCE)
    rows = rows.dropna(subset="preference").sort_values(["preference", "quoted"], kind="stable")
    first = rows.drop_duplicates(_CELL).set_index(_CELL)["value"] / 100
    return first.to_dict()


def _read(file: Path) -> pd.DataFrame:
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    if list(rows.columns) != COLUMNS:
        raise InputError(f"{file}: the columns must be {', '.join(COLUMNS)}.")
    try:
        rows["value"] = rows["value"].astype(float)
    except ValueError as error:
        raise InputError(f"{file}: a value is not a number ({error}).") from error
    # ether_plus stands in ether.csv, pafi and hiwi in pafi_hiwi.csv
    own = file.stem.split("_")
    rows["quoted"] = [method.split("_")[0] not in own for method in rows["method"]]
    return rows
