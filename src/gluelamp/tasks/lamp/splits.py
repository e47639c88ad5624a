"""Train, validation and test of each user, made after equal texts were put together.

The files cannot be split as they are: a query of one record stands with its label in the profiles of
the same user's other records, so that whoever trains on profiles has seen the answers.
"""

from __future__ import annotations

import pandas as pd

from gluelamp.tasks.lamp.texts import fingerprint


def split_users(rows: pd.DataFrame) -> pd.Series:
    """Return the split of each row: a fifth of each user's texts validates, a fifth tests.

    Fifths are rounded to the nearest number, so that one or two texts all train. The order of a user's
    texts is that of their hashes: a row stays in its split whatever other users there are, and a text
    that many users share tends to the same split for all of them.

    Args:
        rows: columns ``user`` and ``text``; rows of one user with the same `fingerprint` stay together.

    Returns:
        ``"train"``, ``"validation"`` or ``"test"``, with the index of the rows.
    """
    users = rows["user"]
    # Six bytes, because ranks are taken of floats, which hold such numbers exactly.
    hashes = [int.from_bytes(fingerprint((text,))[:6]) for text in rows["text"]]
    rank = pd.Series(hashes, rows.index).groupby(users).rank(method="dense")
    held_out = (2 * rank.groupby(users).transform("max") + 5) // 10
    splits = pd.Series("train", rows.index)
    return splits.mask(rank <= 2 * held_out, "test").mask(rank <= held_out, "validation")
