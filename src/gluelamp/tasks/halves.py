"""The two halves of a split's rows, for all that is selected on one half and scored on the other."""

from __future__ import annotations

import numpy as np

_SEED = 0  # all runs split the same rows in the same way, so they can be compared row by row


def in_first_half(rows: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return which rows of a split are in its first half, (rows,) bool; of an odd number it has one more.

    Args:
        rows: their number.
        groups: the group of each row, shape (rows,); the rows of a group are in one half. None if rows are
            independent.
    """
    if groups is None:
        return np.random.default_rng(_SEED).permutation(rows) < (rows + 1) // 2
    names, group = np.unique(groups.astype(str), return_inverse=True)
    return in_first_half(len(names))[group]
