"""Which methods can be the best."""

from __future__ import annotations

from collections.abc import Mapping

from gluelamp.reporting.statistics import Cell, rank_intervals

RULE = (
    "Bold: the methods that none is better than, whose rank can be 1. Better is p < 0.05, after Holm's "
    "correction over all comparisons of the method. The test is a bootstrap paired by example, with the "
    "error over seeds added. A truly best method loses its bold by chance in at most about 5 of 100 columns. "
    "Where a method has one seed, all this speaks of other examples only, not of other seeds."
)


def comparable(cells: Mapping[str, Cell | None]) -> dict[str, Cell]:
    """Return the cells if all are known and on the same rows, else none: bold for a part would mislead."""
    known = {name: cell for name, cell in cells.items() if cell is not None}
    rows = {cell.labels.tobytes() for cell in known.values()}
    return known if len(known) == len(cells) and len(rows) == 1 else {}


def possibly_best(cells: Mapping[str, Cell]) -> set[str]:
    """Return the methods that no other is better than, the best mean among them.

    Args:
        cells: by method, on one task.
    """
    ranks = rank_intervals(cells)
    return set(ranks.loc[ranks["rank_low"] == 1, "method"])
