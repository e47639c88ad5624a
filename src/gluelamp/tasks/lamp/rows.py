"""From records to labelled rows: every labelled text of a user once, wherever it stood."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.records import Label, Record
from gluelamp.tasks.lamp.splits import split_users
from gluelamp.tasks.lamp.texts import fingerprint
from gluelamp.tasks.lamp.users import Links, users_of
from gluelamp.tasks.task import Task

logger = logging.getLogger(__name__)


def labelled_splits(task: Task, records: Iterable[Record]) -> dict[str, pd.DataFrame]:
    """Return the splits of all users together.

    A row is a labelled profile item or a query with a gold. Texts that differ in case, spaces and punctuation
    alone are one. Texts that a user labelled in two ways are left out; their number is logged.

    Args:
        task: the declaration.
        records: a stream; what stays of it are the distinct texts and their labels.

    Returns:
        One frame per split that has rows: ``idx``, ``user``, the task's text columns and ``label``
        (class name or score). ``idx`` counts the rows of all splits in the order of the files.

    Raises:
        InputError: if no user has enough rows to hold one out.
    """
    found, texts = _collect(task, records)
    rows = _without_contradictions(task, found)
    if rows.empty:
        return {}
    _check_sizes(task, rows["user"].value_counts())
    columns = {
        column: [texts[number][place] for number in rows["texts"]]
        for place, column in enumerate(task.text_columns)
    }
    frame = pd.DataFrame({"idx": range(len(rows)), "user": rows["user"], **columns, "label": rows["label"]})
    del texts, columns  # the frame has copies, and the largest files fill a memory
    splits = split_users(frame)
    return {split: frame[splits == split] for split in task.splits if (splits == split).any()}


def _without_contradictions(task: Task, found: pd.DataFrame) -> pd.DataFrame:
    """Return each user's texts once; none that the user labelled in two ways."""
    distinct = found.drop_duplicates()
    conflicting = distinct.duplicated(["user", "texts"], keep=False)
    if conflicting.any():
        count = len(distinct[conflicting].drop_duplicates(["user", "texts"]))
        logger.warning("%s: left out %d texts with more than one label of the same user", task.name, count)
    return distinct[~conflicting].reset_index(drop=True)


def _check_sizes(task: Task, sizes: pd.Series) -> None:
    logger.info(
        "%s: %d users, the largest with %d rows, %d with at least 20",
        *(task.name, len(sizes), sizes.max(), (sizes >= 20).sum()),
    )
    if sizes.max() < 3:
        raise InputError(
            f"No user of task {task.name!r} has three or more labelled texts in these files, so that none "
            "can be held out for validation. Take more of the task's official files."
        )


def _collect(task: Task, records: Iterable[Record]) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """Return ``user``, ``texts`` (a number) and ``label`` of all labelled items, and the texts by number."""
    links = Links()
    texts: list[tuple[str, ...]] = []  # each distinct text is held once, as it was first written
    numbers: dict[bytes, int] = {}
    rows: list[tuple[int, int, Label]] = []

    def number_of(written: tuple[str, ...]) -> int:
        number = numbers.setdefault(fingerprint(written), len(texts))
        if number == len(texts):
            texts.append(written)
        return number

    without_query = unknown_labels = 0
    for record in records:
        at = links.add_record(record.name, record.user)
        without_query += record.query is None
        unknown_labels += record.unknown_labels
        for item in (*filter(None, [record.query]), *record.profile):
            links.add_text(at, number_of(item.texts[:1]))
            if item.label is not None:
                rows.append((at, number_of(item.texts), item.label))
    if without_query:
        logger.warning("%s: left out %d queries without an instruction or a text", task.name, without_query)
    if unknown_labels:
        logger.warning("%s: left out %d profile items without a label of the task", task.name, unknown_labels)
    found = pd.DataFrame(rows, columns=["user", "texts", "label"])
    return found.assign(user=np.array(users_of(links), "object")[found["user"]]), texts
