"""Methods against a reference on the same rows: on each task, and on the mean over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.reporting.entries import Entry, score_rows
from gluelamp.reporting.statistics import Cell, compare_all, difference, holm, mean_estimate, verdict
from gluelamp.tasks.glue import GLUE

OVERALL = "all tasks"
ONE_SEED = "one seed"
"""In place of a comparison's outcome: with one seed the error is over examples alone, so methods that are
equal over seeds come out better or worse far too often."""
FOUND = ["difference", "low", "high", "p", "p_holm", "verdict", "tasks", "seeds"]


def paired_rows(some: Sequence[Entry], reference: str) -> pd.DataFrame:
    """Compare each label with a reference, on each task and on the mean over the tasks that both have.

    The family of Holm's correction are the comparisons of one task; of the means over tasks, those means.

    Args:
        some: entries of one data and backbone; without predictions they are passed over.
        reference: the label whose scores are taken from the others'.

    Returns:
        ``label``, ``task`` (:data:`OVERALL` for the mean) and the columns :data:`FOUND`: label minus
        reference as fractions, with 95 % intervals; ``verdict`` is ``better``, ``worse`` or ``tie``; the
        names of the ``tasks``; and the number of ``seeds``, of the method and task with the fewest.
    """
    of_task: dict[str, dict[str, Cell]] = defaultdict(dict)
    for entry in some:
        if entry.cell is not None:
            of_task[entry.task][entry.label] = entry.cell
    compared = {task: cells for task, cells in of_task.items() if reference in cells}
    tables = [_on_task(task, cells, reference) for task, cells in compared.items()]
    rows = pd.concat([*tables, _over_tasks(compared, reference)], ignore_index=True) if tables else None
    return pd.DataFrame(rows, columns=["label", "task", *FOUND])


def compared_rows(some: Sequence[Entry], references: Sequence[str]) -> pd.DataFrame:
    """Return the scores of entries beside their differences to references.

    Args:
        some: entries of one data and backbone.
        references: labels; one without entries leaves its columns empty.

    Returns:
        the columns of :func:`gluelamp.reporting.entries.score_rows`, and for each reference ``vs_<label>``
        (the difference) and ``vs_<label>_<column>`` for the other columns :data:`FOUND`. The mean over tasks
        has a row of its own, of task :data:`OVERALL`.
    """
    rows = score_rows(some)
    for reference in references:
        names = {column: f"vs_{reference}_{column}" for column in FOUND} | {"difference": f"vs_{reference}"}
        found = paired_rows(some, reference).rename(columns=names)
        rows = rows.merge(found, on=["label", "task"], how="outer")
    first = some[0]
    methods = {entry.label: entry.method for entry in some}
    rows["method"] = rows["label"].map(methods)
    scope = {"data": first.data, "backbone": first.backbone, "selection": first.selection}
    rows = rows.assign(**scope, epochs=first.epochs)
    order = {task: position for position, task in enumerate([*GLUE, OVERALL])}
    rows = rows.assign(place=rows["task"].map(order)).sort_values(["label", "place"], ignore_index=True)
    whole = dict.fromkeys(["epochs", *(f"vs_{reference}_seeds" for reference in references)], "Int64")
    return rows.drop(columns="place").astype(whole)


def outcome(row: Mapping[str, Any] | pd.Series, reference: str) -> str:
    """Return ``better``, ``worse`` or ``tie``, or :data:`ONE_SEED` where a side has no more.

    Args:
        row: of :func:`compared_rows`, with this comparison.
        reference: the prefix of its columns, such as ``"vs_pafi"``.
    """
    return ONE_SEED if row[f"{reference}_seeds"] < 2 else str(row[f"{reference}_verdict"])


def _on_task(task: str, cells: Mapping[str, Cell], reference: str) -> pd.DataFrame:
    rows = compare_all(cells, reference).rename(columns={"method": "label"})
    return rows.assign(task=task, tasks=task)


def _over_tasks(of_task: Mapping[str, Mapping[str, Cell]], reference: str) -> pd.DataFrame:
    labels = sorted({label for cells in of_task.values() for label in cells} - {reference})
    rows = pd.DataFrame([_mean_row(label, of_task, reference) for label in labels])
    if rows.empty:
        return rows
    rows["p_holm"] = holm(rows["p"])
    rows["verdict"] = list(map(verdict, rows["difference"], rows["p_holm"]))  # of all GLUE, more is better
    return rows


def _mean_row(label: str, of_task: Mapping[str, Mapping[str, Cell]], reference: str) -> dict[str, Any]:
    pairs = {task: (cells[label], cells[reference]) for task, cells in of_task.items() if label in cells}
    found = mean_estimate([difference(*pair) for pair in pairs.values()])
    return {
        "label": label,
        "task": OVERALL,
        "tasks": " ".join(pairs),
        "seeds": min(len(cell.seeds) for pair in pairs.values() for cell in pair),
        "difference": found.value,
        "low": found.interval.low,
        "high": found.interval.high,
        "p": found.p,
    }
