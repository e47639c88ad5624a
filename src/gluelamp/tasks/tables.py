"""Tables of rows, and their checks; errors name the wrong row. `gluelamp.tasks.files` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from gluelamp.errors import InputError, unknown
from gluelamp.tasks.task import Source, Task
from gluelamp.tasks.values import bad_character, is_missing, not_a_name, whole_number

SAMPLE_PLACE = "bundled and synthetic, not the benchmark's rows"


@dataclass(frozen=True)
class Table:
    """The rows of one split before any check.

    Args:
        rows: what was read; the index is the position of each row in the file, counted from 1.
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
            problem: describes what is wrong with the row at a position.
        """
        positions = np.flatnonzero(bad)
        if positions.size:
            position = int(positions[0])
            where = f"{self.origin}, {self.unit} {self.rows.index[position]}"
            raise InputError(f"{where}: {problem(position)}")


@dataclass(frozen=True)
class Reading:
    """The rows of one task in one source.

    Args:
        tables: the splits that are present.
        source: the label that is stored in every record.
        place: folder, or repository and commit, for the log and error messages.
        revision: the hub's commit, where it is known.
        deviations: known differences from the official data that the source itself has, one sentence each.
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
    """Raise an InputError that names each missing column and the nearest present one."""
    present = [str(column) for column in present]
    missing = [_missing(column, present) for column in wanted if column not in present]
    if missing:
        raise InputError(
            f"{origin} has no column {' and no column '.join(missing)}. "
            f"Its columns are: {', '.join(present) or 'none'}."
        )


def normalise(table: Table, task: Task, split: str) -> pd.DataFrame:
    """Return the checked rows: ``idx``, user and group if the task has them, its texts and ``label``.

    Labels may be class ids or class names. In a test split they may be hidden: the column is absent, or its
    values are null or -1. An empty text is allowed, because two official QQP questions are empty.

    Args:
        table: the rows as they were read.
        task: the declaration; it defines the columns and the allowed labels.
        split: the name of the split; -1 is allowed in test splits only.

    Raises:
        InputError: if there are no rows, a column is missing or a value is not allowed.
    """
    if table.rows.empty:
        raise InputError(f"{table.origin} has no rows.")
    hidden = split in task.test_splits
    # The official test files have no label column, the hub's have -1.
    if hidden and "label" not in table.rows:
        table = replace(table, rows=table.rows.assign(label=-1))
    text_columns = (*filter(None, [task.user_column, task.group_column]), *task.text_columns)
    require_columns(table.origin, table.rows.columns, ("idx", *text_columns, "label"))
    texts = {column: checked_texts(table, column) for column in text_columns}
    if task.user_column:
        users = texts[task.user_column]
        table.refuse(users == "", lambda _: f"{task.user_column!r} is empty.")
    return pd.DataFrame({"idx": checked_idx(table), **texts, "label": _labels(table, task, hidden)})


def _missing(column: str, present: list[str]) -> str:
    close = get_close_matches(column, present, n=1, cutoff=0.5)
    return f"{column!r}" + (f" (nearest: {close[0]!r})" if close else "")


def checked_idx(table: Table) -> pd.Series:
    """Return the column ``idx`` (int64): whole numbers, of which none occurs twice."""
    raw = table.rows["idx"].tolist()
    # Not as floats, which hold whole numbers exactly only up to 2**53.
    values = [whole_number(value) for value in raw]
    table.refuse([value is None for value in values], lambda row: f"idx {raw[row]!r} is not a whole number.")
    column = pd.Series(values, dtype="int64")
    table.refuse(column.duplicated(), lambda row: f"idx {raw[row]!r} occurs twice.")
    return column


def checked_texts(table: Table, column: str) -> pd.Series:
    """Return a column (str) in which every value is a text that all libraries and files accept."""
    raw = table.rows[column].tolist()
    not_text = [not isinstance(text, str) for text in raw]
    table.refuse(not_text, lambda row: f"{column!r} is {raw[row]!r}, which is not text.")
    bad = [bad_character(text) for text in raw]
    table.refuse(
        [character is not None for character in bad],
        lambda row: f"{column!r} contains {bad[row]}. Replace or remove it.",
    )
    return pd.Series(raw, dtype="str")


def checked_names(table: Table, column: str, name: Callable[[object], str | None]) -> list[str]:
    """Return the values of a column in one spelling; an empty one is refused.

    Args:
        table: the rows.
        column: of users, records or labels.
        name: `gluelamp.tasks.values.identifier` or `gluelamp.tasks.values.label_name`.
    """
    raw = table.rows[column].tolist()
    names = [name(value) or "" for value in raw]
    table.refuse([not each for each in names], lambda row: not_a_name(f"{column!r}", raw[row]))
    return names


def _labels(table: Table, task: Task, hidden: bool) -> pd.Series:
    raw = table.rows["label"].tolist()
    # The official TSV files have class names, the hub has class ids.
    ids = {name: number for number, name in enumerate(task.labels)}
    if hidden:
        raw = [-1 if is_missing(value) else value for value in raw]
    # Unknown names and other types become NaN, so that one check finds all of them.
    values = numbers([ids.get(value, value) if isinstance(value, str) else value for value in raw])
    table.refuse(values.isna(), lambda row: _not_a_label(raw[row], task))

    low, high = task.label_range or (0, len(task.labels) - 1)
    allowed = values.between(low, high) | ((values == -1) & hidden)
    allowed &= task.is_regression | (values % 1 == 0)
    kind = f"a {'score' if task.is_regression else 'class id'} from {low} to {high}"
    note = "-1 (hidden) is allowed in test splits only."
    table.refuse(~allowed, lambda row: f"label {raw[row]!r} is not {kind}; {note}")
    # The hub stores scores as float32. Rounding to five decimals restores 3.8 from 3.7999999523, and no
    # official score has more decimals.
    return values.round(5) if task.is_regression else values.astype("int64")


def numbers(values: Iterable) -> pd.Series:
    """Return values as float64; what is no number is NaN."""
    return pd.to_numeric(pd.Series(list(values), dtype="object"), errors="coerce").astype("float64")


def _not_a_label(label: object, task: Task) -> str:
    if isinstance(label, str) and task.labels:
        return str(unknown("label", label, task.labels))
    return f"label {label!r} is not a {'number' if task.is_regression else 'class id or name'}."
