"""Scores and differences as columns of a printed table, one for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.reporting.formats import points_within, task_name
from gluelamp.reporting.pages import Grid
from gluelamp.reporting.paired import OVERALL, outcome
from gluelamp.tasks.glue import GLUE

_Places = Mapping[tuple[str, str], Mapping[str, Any]]


def task_columns(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, list[str]]:
    """Return by title a column for each task: the scores of labels with their intervals.

    Where numbers of seeds differ each score has its own behind it.

    Args:
        rows: of :func:`gluelamp.reporting.paired.compared_rows`.
        labels: the lines of the table; a score that is missing is an empty cell.
    """
    places, differ = _places(rows), rows["seeds"].nunique() > 1
    return {
        task_name(task): [_score(places.get((label, task)), differ) for label in labels]
        for task in tasks_of(rows)
    }


def difference_grids(rows: pd.DataFrame, labels: Sequence[str], reference: str, title: str) -> list[Grid]:
    """Return the table of differences to a reference by task, and of their mean; none if nothing is paired.

    Args:
        rows: of :func:`gluelamp.reporting.paired.compared_rows`, with that reference.
        labels: the lines of the table.
        reference: the label that the others are compared with.
        title: of the scores.
    """
    paired = rows[rows[f"vs_{reference}"].notna()]
    places, tasks = _places(paired), tasks_of(paired)
    lines = [label for label in labels if label in set(paired["label"])]
    columns = {
        task_name(task): [_difference(places.get((label, task)), reference) for label in lines]
        for task in tasks
    }
    if len(tasks) > 1:
        mean = f"mean of {len(tasks)} tasks"
        columns[mean] = [_overall(places[label, OVERALL], reference, tasks) for label in lines]
    cells = pd.DataFrame({"method": lines, **columns})
    return [Grid(f"{title}: less {reference}", cells)] if lines else []


def tasks_of(rows: pd.DataFrame) -> list[str]:
    """Return the tasks of rows in the benchmark's order."""
    return [task for task in GLUE if task in set(rows["task"])]


def _places(rows: pd.DataFrame) -> _Places:
    return {(row["label"], row["task"]): row for row in rows.to_dict("records")}


def _score(row: Mapping[str, Any] | None, with_seeds: bool) -> str:
    if row is None:
        return ""
    text = points_within(row["mean"], row["low"], row["high"])
    return f"{text} ({row['seeds']})" if with_seeds and text else text


def _difference(row: Mapping[str, Any] | None, reference: str) -> str:
    if row is None:
        return ""
    name = f"vs_{reference}"
    found = outcome(row, name)
    text = points_within(row[name], row[f"{name}_low"], row[f"{name}_high"], sign=True)
    return f"{text} **{found}**" if found in ("better", "worse") else f"{text} {found}"


def _overall(row: Mapping[str, Any], reference: str, tasks: Sequence[str]) -> str:
    names = row[f"vs_{reference}_tasks"].split()
    text = _difference(row, reference)
    return text if len(names) == len(tasks) else f"{text} ({', '.join(map(task_name, names))} alone)"
