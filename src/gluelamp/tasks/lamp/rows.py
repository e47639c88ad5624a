"""From records to labelled rows: every labelled text of a user once, in one of three splits.

The official files cannot be split as they are. A query of one record is a labelled profile item of the
same user's other records, so a model that trains on profiles would see the labels of the test queries.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.lamp.records import Label, Record
from gluelamp.tasks.task import Task

logger = logging.getLogger(__name__)


def labelled_splits(task: Task, records: Iterable[Record]) -> dict[str, pd.DataFrame]:
    """Return the splits of all users together.

    A row is a labelled profile item or a query with a gold label. Texts that differ only in case, spaces
    and punctuation are one text. Texts with two different labels of the same user are left out; their
    number is logged.

    Args:
        task: the declaration.
        records: a stream; only the distinct texts and their labels are held in memory.

    Returns:
        One frame per split that has rows: ``idx``, ``user``, the task's text columns and ``label``
        (class name or score). ``idx`` counts the rows of all splits in the order of the files.

    Raises:
        InputError: if no user has enough rows to hold one out.
    """
    rows, texts = _collect(task, records)
    rows = _without_contradictions(task, rows)
    if rows.empty:
        return {}
    _check_sizes(task, rows["user"].value_counts())
    columns = {
        column: [texts[number][position] for number in rows["texts"]]
        for position, column in enumerate(task.text_columns)
    }
    frame = pd.DataFrame({"idx": range(len(rows)), "user": rows["user"], **columns, "label": rows["label"]})
    del texts, columns  # the frame holds copies, and the texts of the largest files fill the memory
    splits = split_users(frame)
    return {split: frame[splits == split] for split in task.splits if (splits == split).any()}


def text_key(texts: tuple[str, ...]) -> bytes:
    """Return 16 bytes that are equal for texts which differ only in case, spaces and punctuation.

    LaMP's files have the same article once with a straight and once with a typographic apostrophe.
    Counted as two texts, one would train and the other test.

    Args:
        texts: the columns of one item. A text without a letter or a digit is compared as it is.
    """
    words = [" ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) for text in texts]
    joined = "\0".join(word or text for word, text in zip(words, texts, strict=True))
    return blake2b(joined.encode(), digest_size=16).digest()


def split_users(rows: pd.DataFrame) -> pd.Series:
    """Return the split of each row: one fifth of each user's texts validates, one fifth tests.

    Fifths are rounded to the nearest number, so that a user with one or two texts only trains. The order
    of a user's texts is that of their hashes. So a row stays in its split whatever other users there are,
    and a text that many users have tends to be in the same split for all of them.

    Args:
        rows: columns ``user`` and ``text``; rows of one user with the same `text_key` stay together.

    Returns:
        ``"train"``, ``"validation"`` or ``"test"``, with the index of the rows.
    """
    users = rows["user"]
    # Ranks are computed on floats. They hold integers of six bytes exactly, larger ones not.
    hashes = [int.from_bytes(text_key((text,))[:6]) for text in rows["text"]]
    rank = pd.Series(hashes, rows.index).groupby(users).rank(method="dense")
    held_out = (2 * rank.groupby(users).transform("max") + 5) // 10  # round(texts / 5)
    splits = pd.Series("train", rows.index)
    # The lowest ranks validate, the next ones test, all others train.
    return splits.mask(rank <= 2 * held_out, "test").mask(rank <= held_out, "validation")


@dataclass
class RecordLinks:
    """The texts that each record contains, as edges of a graph between records and texts.

    Args:
        names: the record ids.
        users: the user id of each record; None where there is none.
        records: the record number of each edge.
        texts: the text number of each edge.
    """

    names: list[str] = field(default_factory=list)
    users: list[str | None] = field(default_factory=list)
    records: array[int] = field(default_factory=lambda: array("q"))
    texts: array[int] = field(default_factory=lambda: array("q"))

    def add_record(self, name: str, user: str | None) -> int:
        """Add a record and return its number."""
        self.names.append(name)
        self.users.append(user)
        return len(self.names) - 1

    def add_text(self, record: int, text: int) -> None:
        """Add an edge, unless the record has a user id and its user need not be recovered."""
        if self.users[record] is None:
            self.records.append(record)
            self.texts.append(text)


def recover_users(links: RecordLinks) -> Sequence[str]:
    """Return the user of each record: its user id, or one recovered from texts.

    Records without a user id that have a text in common, directly or through other records, belong to
    one user, named after the first of them. In LaMP the articles of an author are in the profiles of all
    records of that author. The rule merges users who have the same text, such as the description of a
    film. Files with such texts need user ids.

    Args:
        links: the records in the order of the files.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # The users are the connected components of the bipartite graph of records and texts.
    records, texts = np.asarray(links.records, np.int64), np.asarray(links.texts, np.int64)
    count = len(links.names)
    size = count + int(texts.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(records), np.int8), (records, texts + count)), shape=(size, size))
    components = connected_components(edges, directed=False)[1][:count]
    _, earliest, number = np.unique(components, return_index=True, return_inverse=True)
    recovered = [f"record-{links.names[index]}" for index in earliest[number]]
    return [name if user is None else user for user, name in zip(links.users, recovered, strict=True)]


def _collect(task: Task, records: Iterable[Record]) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """Return ``user``, ``texts`` (a number) and ``label`` of all labelled items, and the texts by number."""
    links = RecordLinks()
    texts: list[tuple[str, ...]] = []  # each distinct text once, in its first spelling
    numbers: dict[bytes, int] = {}
    rows: list[tuple[int, int, Label]] = []

    def text_number(columns: tuple[str, ...]) -> int:
        number = numbers.setdefault(text_key(columns), len(texts))
        if number == len(texts):
            texts.append(columns)
        return number

    without_query = unknown_labels = 0
    # Users are known only after the last record: a later record can link two earlier ones. So rows hold
    # record numbers first.
    for record in records:
        position = links.add_record(record.name, record.user)
        without_query += record.query is None
        unknown_labels += record.unknown_labels
        for item in (*filter(None, [record.query]), *record.profile):
            # Users share the text itself, not the references that LaMP-1's queries add as a second column.
            links.add_text(position, text_number(item.texts[:1]))
            if item.label is not None:
                rows.append((position, text_number(item.texts), item.label))
    if without_query:
        logger.warning("%s: left out %d queries without an instruction or a text", task.name, without_query)
    if unknown_labels:
        logger.warning("%s: left out %d profile items without a label of the task", task.name, unknown_labels)
    frame = pd.DataFrame(rows, columns=["user", "texts", "label"])
    return frame.assign(user=np.array(recover_users(links), "object")[frame["user"]]), texts


def _without_contradictions(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    # The same text with the same label occurs in the profiles of all records of its user.
    distinct = rows.drop_duplicates()
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
            "can be held out for validation. Add more of the task's official files."
        )
