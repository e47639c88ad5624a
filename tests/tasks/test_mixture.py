"""Several tasks under one name: their columns, their rows, and what a mixture cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from gluelamp.errors import InputError
from gluelamp.tasks.encoding import EncodedSplit, concatenated
from gluelamp.tasks.mixture import Mixture, find_task, member_split


def split(tokens: list[list[int]], labels: list[float], segments: bool = True) -> EncodedSplit:
    flat = np.concatenate([np.array(row, np.int32) for row in tokens])
    return EncodedSplit(
        tokens=flat,
        segments=flat % 2 if segments else None,
        offsets=np.cumsum([0, *map(len, tokens)]),
        labels=np.array(labels),
        idx=np.arange(len(labels)),
        pad_token=0,
    )


def test_each_member_has_columns_of_its_own() -> None:
    mixture = find_task("all", ["mnli", "stsb", "cola"])
    assert isinstance(mixture, Mixture)
    assert mixture.num_outputs == 3 + 1 + 2
    covered = [list(range(6))[columns] for columns in mixture.columns]
    assert covered == [[0, 1, 2], [3], [4, 5]]


@pytest.mark.parametrize("segments", [True, False])
def test_the_rows_of_the_members_are_concatenated(segments: bool) -> None:
    first = split([[5, 6], [7]], [1, 0], segments)
    second = split([[8, 9, 10]], [2.5], segments)
    both = concatenated([member_split(first, 0), member_split(second, 1)])
    assert both.tokens.tolist() == [5, 6, 7, 8, 9, 10]
    assert both.lengths.tolist() == [2, 1, 3]
    assert both.labels.tolist() == [1.0, 0.0, 2.5]
    assert both.tasks.tolist() == [0, 0, 1]
    assert both.idx.tolist() == [0, 1, 0]
    assert (both.segments is not None) == segments


@pytest.mark.parametrize(
    ("name", "members", "meaning"),
    [
        ("mixture", ["cola"], "two or more different tasks"),
        ("mixture", ["cola", "rte", "cola"], "two or more different tasks"),
        ("mixture", ["cola", "mprc"], "mrpc"),
        ("mixture", ["cola", "ax"], "no training rows"),
        ("mixture", ["cola", "lamp3_score"], "main metric of 'lamp3_score', mae, is an error"),
        ("ax", [], "no training rows"),
    ],
)
def test_what_cannot_be_learnt_is_refused(name: str, members: list[str], meaning: str) -> None:
    with pytest.raises(InputError, match=meaning):
        find_task(name, members)
