"""Titles of tasks and of tables, and the note on the sample."""

from __future__ import annotations

import pandas as pd

from gluelamp.reporting.scores import SELECTIONS

SAMPLE_NOTE = "The bundled sample is synthetic: it shows that the suite runs, and it is no evidence on {}."

_TASKS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "stsb": "STS-B",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}


def task_name(task: str) -> str:
    """Return a task's name as papers write it."""
    return _TASKS.get(task, task)


def task_names(tasks: str) -> str:
    """Return the names of several tasks, which are separated by a blank, as a list in a sentence."""
    return ", ".join(map(task_name, tasks.split()))


def scope_title(rows: pd.DataFrame) -> str:
    """Return the title of a table of scores of one backbone, data, training and selection.

    Args:
        rows: with the columns ``backbone``, ``data``, ``epochs``, ``selection`` (empty if there are no runs)
            and ``seeds``.
    """
    # All rows have the same backbone, data, epochs and selection; only the numbers of seeds may differ.
    first = rows.iloc[0]
    if not first["selection"]:
        return f"{first['backbone']}, no runs"
    seeds = rows.loc[rows["seeds"] > 0, "seeds"]
    fewest, most = int(seeds.min()), int(seeds.max())
    count = _plural(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    training = f"{first['data']} data, {_plural(first['epochs'], 'epoch')}"
    return f"{first['backbone']}, {training}, {SELECTIONS[first['selection']]}, {count}"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
