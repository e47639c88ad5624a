"""Bring rows from any source into one form, and refuse those that do not fit the task."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.tasks.sources.table import Table, require_columns
from gluelamp.tasks.task import Task


def normalise(table: Table, task: Task, split: str) -> pd.DataFrame:
    """Return the checked rows: ``idx``, the user if the task has users, the task's texts and ``label``.

    Labels may be class ids or class names. In a test split the column may be absent: its labels are
    hidden, -1. An empty text is allowed, because two official QQP questions are empty.

    Args:
        table: the rows as they were read.
        task: the declaration, which says what is allowed.
        split: the split's name, which says whether -1 is.

    Raises:
        InputError: if there are no rows, a column is missing or a value is not allowed.
    """
    if table.rows.empty:
        raise InputError(f"{table.origin} has no rows.")
    hidden = split in task.test_splits
    if hidden and "label" not in table.rows:
        table = replace(table, rows=table.rows.assign(label=-1))
    text_columns = (*filter(None, [task.user_column]), *task.text_columns)
    require_columns(table.origin, table.rows.columns, ("idx", *text_columns, "label"))
    texts = {column: _texts(table, column) for column in text_columns}
    return pd.DataFrame({"idx": _idx(table), **texts, "label": _labels(table, task, hidden)})


def _idx(table: Table) -> pd.Series:
    given = table.rows["idx"].tolist()
    values = _numbers(given)
    table.refuse(values % 1 != 0, lambda at: f"idx {given[at]!r} is not a whole number.")
    table.refuse(values.duplicated(), lambda at: f"idx {given[at]!r} is there twice.")
    return values.astype("int64")


def _texts(table: Table, column: str) -> pd.Series:
    given = table.rows[column].tolist()
    not_text = [not isinstance(text, str) for text in given]
    table.refuse(not_text, lambda at: f"{column!r} is {given[at]!r}, which is not text.")
    return pd.Series(given, dtype="str")


def _labels(table: Table, task: Task, hidden: bool) -> pd.Series:
    given = table.rows["label"].tolist()
    ids = {name: number for number, name in enumerate(task.labels)}
    values = _numbers([ids.get(value, value) if isinstance(value, str) else value for value in given])
    table.refuse(values.isna(), lambda at: _not_a_label(given[at], task))

    low, high = task.label_range or (0, len(task.labels) - 1)
    allowed = values.between(low, high) | ((values == -1) & hidden)
    allowed &= task.is_regression | (values % 1 == 0)
    kind = f"a {'score' if task.is_regression else 'class id'} from {low} to {high}"
    note = "-1 (hidden) is allowed in test splits only."
    table.refuse(~allowed, lambda at: f"label {given[at]!r} is not {kind}; {note}")
    # The hub keeps scores as float32: five decimals bring 3.8 back and lose nothing of any score.
    return values.round(5) if task.is_regression else values.astype("int64")


def _numbers(values: list) -> pd.Series:
    return pd.to_numeric(pd.Series(values, dtype="object"), errors="coerce").astype("float64")


def _not_a_label(label: object, task: Task) -> str:
    if isinstance(label, str) and task.labels:
        return str(unknown("label", label, task.labels))
    return f"label {label!r} is not a {'number' if task.is_regression else 'class id or name'}."
