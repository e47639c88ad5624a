"""Which methods cannot be told apart from the best one."""

from __future__ import annotations

from collections.abc import Mapping

from gluelamp.reporting.statistics import Cell, compare_all, score_interval

RULE = (
    "Bold: the best mean of a task and every method that is not told apart from it: p < 0.05, after Holm's "
    "correction over the column, tells apart. The test is a bootstrap paired by example, with the error over "
    "seeds added. A truly best method loses its bold by chance in at most about 5 of 100 columns; "
    "of many equally good methods, one or another does so more often, since the best is chosen by the data. "
    "Where a method has one seed, all this speaks of other examples only, not of other seeds."
)


def comparable(cells: Mapping[str, Cell | None]) -> dict[str, Cell]:
    """Return the cells if all are known and on the same rows, else none: bold for a part would mislead."""
    known = {name: cell for name, cell in cells.items() if cell is not None}
    rows = {cell.labels.tobytes() for cell in known.values()}
    return known if len(known) == len(cells) and len(rows) == 1 else {}


def best_and_ties(cells: Mapping[str, Cell]) -> set[str]:
    """Return the method with the best mean and those that are not told apart from it.

    Args:
        cells: by method, on one task.
    """
    sign = {name: -1 if cell.lower_is_better else 1 for name, cell in cells.items()}
    best = max(cells, key=lambda name: sign[name] * score_interval(cells[name]).estimate)
    others = compare_all(cells, best)
    return {best, *others.loc[others["verdict"] == "tie", "method"]}
