"""Token ids of a split. They are computed once and cached on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gluelamp.io import atomic_write
from gluelamp.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class EncodedSplit:
    """The token ids of one split, without padding.

    Args:
        tokens: (total,) int32, the examples one after another.
        segments: (total,) int32, the token type of each token; None if the encoder has no types.
        offsets: (examples + 1,) int64; example i holds ``tokens[offsets[i]:offsets[i + 1]]``.
        labels: (examples,) int64, or float32 for regression.
        idx: (examples,) int64, the row's number in the benchmark's file.
        pad_token: the id of the padding.
        tasks: (examples,) int64, the member of a mixture that each example belongs to; None for one task.
        users: (examples,) str, the user of each example; None if the task has no users.
        groups: (examples,) str, the group of each example; None if the task has no groups.
    """

    tokens: np.ndarray
    segments: np.ndarray | None
    offsets: np.ndarray
    labels: np.ndarray
    idx: np.ndarray
    pad_token: int
    tasks: np.ndarray | None = None
    users: np.ndarray | None = None
    groups: np.ndarray | None = None

    # Rows of different lengths are stored without padding. The batches pad to their own longest row.
    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each example, (examples,) int64."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.labels)

    def user_rows(self, user: str) -> EncodedSplit:
        """Return the examples of one user; the task must have users."""
        assert self.users is not None
        return self.take(np.flatnonzero(self.users == user))

    def take(self, rows: np.ndarray) -> EncodedSplit:
        """Return the examples at the given positions, (k,) int."""
        positions = np.concatenate(
            [np.arange(*self.offsets[row : row + 2]) for row in rows] or [np.empty(0, int)]
        )
        return EncodedSplit(
            tokens=self.tokens[positions],
            segments=None if self.segments is None else self.segments[positions],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[rows])]),
            labels=self.labels[rows],
            idx=self.idx[rows],
            pad_token=self.pad_token,
            tasks=None if self.tasks is None else self.tasks[rows],
            users=None if self.users is None else self.users[rows],
            groups=None if self.groups is None else self.groups[rows],
        )


def concatenated(splits: Sequence[EncodedSplit]) -> EncodedSplit:
    """Return the rows of several splits, one split after another.

    Args:
        splits: encoded by the same tokenizer.
    """
    # Offsets count tokens from the start of a split. Shift them by the tokens of all earlier splits.
    starts = accumulate((len(split.tokens) for split in splits), initial=0)
    ends = [split.offsets[1:] + start for split, start in zip(splits, starts, strict=False)]
    return EncodedSplit(
        tokens=np.concatenate([split.tokens for split in splits]),
        segments=_concatenate([split.segments for split in splits]),
        offsets=np.concatenate([[0], *ends]),
        labels=np.concatenate([split.labels for split in splits]),
        idx=np.concatenate([split.idx for split in splits]),
        pad_token=splits[0].pad_token,
        tasks=_concatenate([split.tasks for split in splits]),
        users=_concatenate([split.users for split in splits]),
        groups=_concatenate([split.groups for split in splits]),
    )


def _concatenate(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    # Members of a mixture may differ: an array of only some of the rows would be misaligned.
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if len(present) == len(arrays) else None


def encode(
    frame: pd.DataFrame,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cache: Path | None = None,
) -> EncodedSplit:
    """Return the encoded rows of one split, from the cache if it holds them.

    Args:
        frame: the rows, with the columns of `gluelamp.tasks.task.TaskData`.
        task: the declaration, with the text columns.
        tokenizer: a fast tokenizer.
        max_length: the maximal number of tokens per example; of a pair, the longer text is truncated first.
        cache: folder of encoded splits; None disables the cache.
    """
    texts = [frame[column].tolist() for column in task.text_columns]
    arrays = _cached(texts, tokenizer, max_length, cache)
    return EncodedSplit(
        tokens=arrays["tokens"],
        segments=arrays.get("segments"),
        offsets=arrays["offsets"],
        labels=frame["label"].to_numpy(np.float32 if task.is_regression else np.int64),
        idx=frame["idx"].to_numpy(np.int64),
        pad_token=tokenizer.pad_token_id,
        users=frame[task.user_column].to_numpy(object) if task.user_column else None,
        groups=frame[task.group_column].to_numpy(object) if task.group_column else None,
    )


def count_truncated(
    split: EncodedSplit,
    frame: pd.DataFrame,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> int:
    """Return how many rows of a split lost tokens.

    Args:
        split: of `encode`, with the same arguments.
        frame: its rows.
        task: the declaration.
        tokenizer: of the split.
        max_length: of the split.
    """
    # Only rows of exactly this length can have lost tokens.
    full = frame[split.lengths == max_length]
    if full.empty:
        return 0
    texts = [full[column].tolist() for column in task.text_columns]
    return sum(len(ids) > max_length for ids in tokenizer(*texts, verbose=False)["input_ids"])


# The key covers all that determines the ids: texts, tokenizer, maximal length. Labels are not in the cache,
# so relabelled rows reuse it.
def _cached(
    texts: list[list[str]], tokenizer: PreTrainedTokenizerBase, max_length: int, cache: Path | None
) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save_file

    if cache is None:
        return _tokenize(texts, tokenizer, max_length)
    path = cache / f"{_key(texts, tokenizer, max_length)}.safetensors"
    if path.is_file():
        with suppress(SafetensorError):  # a damaged file is computed again
            return load_file(path)
    arrays = _tokenize(texts, tokenizer, max_length)
    with atomic_write(path) as temporary:
        save_file(arrays, temporary)
    return arrays


def _key(texts: list[list[str]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    # Each call stores its truncation and padding in the tokenizer. Without them, the key depends only on
    # what determines the ids.
    backend = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    setting = [backend, max_length, tokenizer.model_input_names, [len(column) for column in texts]]
    digest = hashlib.sha256(json.dumps(setting, sort_keys=True).encode())
    for text in chain(*texts):
        encoded = text.encode()
        # The number of bytes before each text keeps ["ab", "c"] and ["a", "bc"] apart.
        digest.update(f"{len(encoded)} ".encode() + encoded)
    return digest.hexdigest()[:32]


def _tokenize(
    texts: list[list[str]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> dict[str, np.ndarray]:
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    ids = encoded["input_ids"]
    arrays = {
        "tokens": np.concatenate([np.asarray(row, np.int32) for row in ids]),
        "offsets": np.cumsum([0, *map(len, ids)], dtype=np.int64),
    }
    # RoBERTa and others have no token types; their tokenizers return none.
    if "token_type_ids" in encoded:
        segments = [np.asarray(row, np.int32) for row in encoded["token_type_ids"]]
        arrays["segments"] = np.concatenate(segments)
    return arrays
