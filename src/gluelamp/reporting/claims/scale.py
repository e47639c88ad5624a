"""On what a comparison stands: a verdict without its scale says nothing."""

from __future__ import annotations

import pandas as pd

from gluelamp.reporting.formats import scope_title, task_name
from gluelamp.tasks.glue import GLUE


def paired_scale(rows: pd.DataFrame, reference: str) -> str:
    """Return the backbone, data, tasks, selection and paired seeds of comparisons; empty if there are none.

    Args:
        rows: means over tasks, of :func:`gluelamp.reporting.paired.compared_rows`.
        reference: the prefix of its columns, such as ``"vs_pafi"``.
    """
    rows = rows[rows[f"{reference}_seeds"].notna()]
    if rows.empty:
        return ""
    named = {task for names in rows[f"{reference}_tasks"] for task in names.split()}
    tasks = [task_name(task) for task in GLUE if task in named]
    return f"{scope_title(rows.assign(seeds=rows[f'{reference}_seeds']))}, {', '.join(tasks)}"
