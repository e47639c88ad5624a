"""Who wrote what: users by their id, else recovered from the texts that their records share."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Links:
    """Which record holds which text.

    Args:
        names: the record ids.
        users: the records' user ids; None where there is none.
        records: one number of a record per link.
        texts: one number of a text per link.
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
        """Say that a record holds a text; that of a record with a user id links nobody."""
        if self.users[record] is None:
            self.records.append(record)
            self.texts.append(text)


def users_of(links: Links) -> Sequence[str]:
    """Return the user of each record.

    Records without a user id that share a text, directly or through others, are one user's; the user
    is named after the first of them. In LaMP an author's articles stand in the profiles of all records
    of that author. Where different people hold the same text, such as a film's description, they are
    taken for one: such files need user ids.

    Args:
        links: the records in the order of the files.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    records, texts = np.asarray(links.records, np.int64), np.asarray(links.texts, np.int64)
    count = len(links.names)
    size = count + int(texts.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(records), np.int8), (records, texts + count)), shape=(size, size))
    groups = connected_components(edges, directed=False)[1][:count]
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    recovered = [f"record-{links.names[at]}" for at in first[number]]
    return [other if user is None else user for user, other in zip(links.users, recovered, strict=True)]
