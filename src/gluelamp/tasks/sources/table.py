"""Rows as a source hands them over, and where each of them stood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gluelamp.errors import InputError
from gluelamp.tasks.task import Source


@dataclass(frozen=True)
class Table:
    """The rows of one split as they were found, before any check.

    Args:
        rows: what was read; the index says where each row stood, counted from 1.
        origin: the file or the hub's split, as error messages name it.
        unit: what the index counts, ``"line"`` in text files and ``"row"`` elsewhere.
    """

    rows: pd.DataFrame
    origin: str
    unit: str = "row"

    def refuse(self, bad: ArrayLike, problem: Callable[[int], str]) -> None:
        """Raise an InputError that names the first bad row, if there is one.

        Args:
            bad: one truth value per row.
            problem: says what is wrong with the row at a position.
        """
        positions = np.flatnonzero(bad)
        if positions.size:
            first = int(positions[0])
            where = f"{self.origin}, {self.unit} {self.rows.index[first]}"
            raise InputError(f"{where}: {problem(first)}")


@dataclass(frozen=True)
class Reading:
    """What one source has of one task.

    Args:
        tables: the splits that are there.
        source: the label that travels into every record.
        place: folder, or repository and commit, for the log and error messages.
        revision: the hub's commit, where it is known.
        deviations: what the source itself knows to differ from the official data, one sentence each.
    """

    tables: Mapping[str, Table]
    source: Source
    place: str
    revision: str | None = None
    deviations: tuple[str, ...] = ()


def numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with an index that counts them from 1."""
    return rows.set_axis(pd.RangeIndex(1, len(rows) + 1))


def require_columns(origin: str, present: Iterable[str], wanted: Iterable[str]) -> None:
    """Raise an InputError that names each missing column and the nearest one that is there."""
    present = [str(column) for column in present]
    missing = [_missing(column, present) for column in wanted if column not in present]
    if missing:
        raise InputError(
            f"{origin} has no column {' and no column '.join(missing)}. "
            f"Its columns are: {', '.join(present) or 'none'}."
        )


def _missing(column: str, present: list[str]) -> str:
    close = get_close_matches(column, present, n=1, cutoff=0.5)
    return f"{column!r}" + (f" (nearest: {close[0]!r})" if close else "")
