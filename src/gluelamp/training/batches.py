"""Which examples make a batch, and the batch as tensors."""

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
    """Return the batches of one epoch as arrays of example numbers.

    Examples are shuffled, sorted by length within a window of ``bucket_batches`` batches, cut into
    batches, and the batches are shuffled. The order is a function of the arguments alone, so a resumed
    run finds its place by the number of batches done.

    Args:
        lengths: (examples,) tokens of each.
        batch_size: examples a batch; the last batch may be smaller.
        bucket_batches: batches in a window.
        seed: of the run.
        epoch: counted from 0.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    window = batch_size * bucket_batches
    batches = [
        batch
        for start in range(0, len(order), window)
        for batch in _sorted_batches(order[start : start + window], lengths, batch_size)
    ]
    return [batches[i] for i in rng.permutation(len(batches))]


def evaluation_order(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return batches of examples of like length, over all examples."""
    return _sorted_batches(np.arange(len(lengths)), lengths, batch_size)


def _sorted_batches(examples: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    ordered = examples[np.argsort(lengths[examples], kind="stable")]
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def collate(
    split: EncodedSplit, examples: np.ndarray, device: torch.device, length: int | None = None
) -> tuple[Batch, Tensor]:
    """Return some examples as the model's inputs, padded, and their labels.

    Args:
        split: the encoded split.
        examples: (batch,) numbers of the examples.
        device: where the tensors go.
        length: tokens to pad to; those of the longest example if None.

    Returns:
        ``input_ids``, ``attention_mask`` and, if the encoder has types, ``token_type_ids``, each
        (batch, length) int64, and of a mixture ``task_ids`` (batch,) int64; and the labels (batch,).
    """
    starts, lengths = split.offsets[examples], split.lengths[examples]
    columns = np.arange(length or lengths.max())
    present = columns < lengths[:, None]
    places = np.where(present, starts[:, None] + columns, 0)
    arrays = {
        "input_ids": np.where(present, split.tokens[places], split.pad_token),
        "attention_mask": present,
    }
    if split.segments is not None:
        arrays["token_type_ids"] = np.where(present, split.segments[places], 0)
    if split.tasks is not None:
        arrays[task_ids.KEY] = split.tasks[examples]
    inputs = {
        name: torch.from_numpy(array.astype(np.int64)).to(device, non_blocking=True)
        for name, array in arrays.items()
    }
    return inputs, torch.from_numpy(split.labels[examples]).to(device, non_blocking=True)
