"""The papers' numbers, and which of them stands beside a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.reporting.marks import METRIC_MARK, PROTOCOL_MARKS
from gluelamp.tasks.glue import GLUE

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

# Only scores on the whole development set, from the pre-trained checkpoint, compare with a run of the suite.
COMPARABLE = "dev"
# These stand beside a run only with a mark, in this order; all others, such as low-resource runs, do not.
_MARKED = ("dev from MNLI", "held-out part of dev", "test", "unstated split")
_PREFERENCE = {name: position for position, name in enumerate((COMPARABLE, *_MARKED))}


def read_published(folder: Path) -> Mapping[Cell, float]:
    """Return the published score, as a fraction, of each cell that has a comparable one.

    Where several papers publish a cell: the method's own paper first, then the order of the files (by
    name) and of their rows.

    Args:
        folder: CSV files with the columns :data:`COLUMNS`, each named after the methods of its
            paper, such as ``lora.csv``; a folder that is missing holds no numbers.

    Raises:
        InputError: if a file has other columns, or a value is not a number.
    """
    rows = published_rows(folder)
    rows = rows[rows["split"] == COMPARABLE]
    return rows.drop_duplicates(_CELL).set_index(_CELL)["value"].to_dict()


def closest_scores(folder: Path) -> pd.DataFrame:
    """Return the published score nearest to this suite's protocol of each method, backbone and task.

    A score in the task's main metric goes before one in another; then as in :func:`read_published`,
    and after these an MNLI start, a held-out part of the development set, the test server, an unstated split.

    Args:
        folder: as in :func:`read_published`.

    Returns:
        the columns :data:`COLUMNS`, ``value`` as a fraction; ``marks``, one character for each
        difference of protocol; and ``comparable``: whether a gap to it can be stated.
    """
    rows = published_rows(folder)
    rows = rows[rows["task"].isin(GLUE)]
    is_other = rows["metric"] != [GLUE[task].main_metric for task in rows["task"]]
    marks = rows["split"].map(PROTOCOL_MARKS).fillna("") + is_other.map({True: METRIC_MARK, False: ""})
    rows = rows.assign(is_other=is_other, marks=marks, comparable=rows["split"].eq(COMPARABLE) & ~is_other)
    nearest = rows.sort_values("is_other", kind="stable").drop_duplicates(["method", "backbone", "task"])
    return nearest[[*COLUMNS, "marks", "comparable"]].reset_index(drop=True)


def published_rows(folder: Path) -> pd.DataFrame:
    """Return the published rows that may stand beside a run, those that go first first.

    Returns:
        the columns :data:`COLUMNS`, ``value`` as a fraction, and ``split``: the class of the protocol.
    """
    files = [_read(file) for file in sorted(folder.glob("*.csv"))]
    empty = pd.DataFrame(columns=[*COLUMNS, "quoted"])
    rows = pd.concat(files, ignore_index=True) if files else empty
    rows["value"] = rows["value"].astype(float) / 100
    rows["split"] = rows["protocol"].str.split(";").str[0]
    rows["preference"] = rows["split"].map(_PREFERENCE)
    rows = rows.dropna(subset="preference").sort_values(["preference", "quoted"], kind="stable")
    return rows[[*COLUMNS, "split"]]


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
