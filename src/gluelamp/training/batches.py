"""The order of examples in batches, and a batch as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gluelamp.backbones import task_ids
from gluelamp.tasks.encoding import EncodedSplit

Batch = dict[str, Tensor]


def training_order(
    lengths: np.ndarray, batch_size: int, bucket_batches: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """Return the batches of one epoch as arrays of example indices.

    Examples are shuffled, sorted by length within a window of ``bucket_batches`` batches, cut into
    batches, and the batches are shuffled. The order depends on the arguments alone, so a resumed run
    needs only the number of finished batches to continue.

    Args:
        lengths: (examples,) number of tokens.
        batch_size: examples in a batch; the last batch may be smaller.
        bucket_batches: batches in a window.
        seed: of the run.
        epoch: counted from 0.
    """
    # A generator of its own: the global random state of a resumed process is different.
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    window = batch_size * bucket_batches
    batches = [
        batch
        for start in range(0, len(order), window)
        for batch in _sorted_batches(order[start : start + window], lengths, batch_size)
    ]
    # Without this shuffle each window would run from short to long texts.
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluation_order(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return batches of examples of similar length, over all examples."""
    return _sorted_batches(np.arange(len(lengths)), lengths, batch_size)


def _sorted_batches(examples: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    ordered = examples[np.argsort(lengths[examples], kind="stable")]
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def collate(
    split: EncodedSplit, examples: np.ndarray, device: torch.device, length: int | None = None
) -> tuple[Batch, Tensor]:
    """Return examples as the model's inputs, padded on the right, and their labels.

    Args:
        split: the encoded split.
        examples: (batch,) indices of the examples.
        device: of the tensors.
        length: tokens after padding; those of the longest example if None.

    Returns:
        ``input_ids``, ``attention_mask`` and, if the encoder has token types, ``token_type_ids``, each
        (batch, length) int64; for a mixture also ``task_ids`` (batch,) int64; and the labels (batch,).
    """
    # A split is one flat array of tokens. Each row of `positions` points at one example's tokens; beyond
    # the example's end it points at token 0, which the padding token then replaces.
    starts, lengths = split.offsets[examples], split.lengths[examples]
    columns = np.arange(length or lengths.max())
    present = columns < lengths[:, None]
    positions = np.where(present, starts[:, None] + columns, 0)
    arrays = {
        "input_ids": np.where(present, split.tokens[positions], split.pad_token),
        "attention_mask": present,
    }
    if split.segments is not None:
        arrays["token_type_ids"] = np.where(present, split.segments[positions], 0)
    if split.tasks is not None:
        arrays[task_ids.KEY] = split.tasks[examples]
    inputs = {
        name: torch.from_numpy(array.astype(np.int64)).to(device, non_blocking=True)
        for name, array in arrays.items()
    }
    return inputs, torch.from_numpy(split.labels[examples]).to(device, non_blocking=True)
