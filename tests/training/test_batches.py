"""Each epoch sees every example once, in an order that seed and epoch alone decide."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.batches import collate, evaluation_order, training_order

CPU = torch.device("cpu")
LENGTHS = np.random.default_rng(0).integers(4, 128, size=1003)


def order(seed: int = 0, epoch: int = 0, bucket_batches: int = 50) -> list[list[int]]:
    return [batch.tolist() for batch in training_order(LENGTHS, 32, bucket_batches, seed, epoch)]


def padding_share(batches: list[np.ndarray]) -> float:
    padded = sum(len(batch) * LENGTHS[batch].max() for batch in batches)
    return 1 - LENGTHS.sum() / padded


@pytest.mark.parametrize("epoch", [0, 1, 7])
@pytest.mark.parametrize("bucket_batches", [1, 3, 50])
def test_an_epoch_is_a_permutation_of_all_examples(epoch: int, bucket_batches: int) -> None:
    batches = order(epoch=epoch, bucket_batches=bucket_batches)
    assert sorted(example for batch in batches for example in batch) == list(range(len(LENGTHS)))
    assert len(batches) == -(-len(LENGTHS) // 32)
    assert sorted(map(len, batches)) == [11, *[32] * 31]


def test_seed_and_epoch_decide_the_order() -> None:
    assert order(seed=3, epoch=2) == order(seed=3, epoch=2)
    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])


def test_the_global_random_state_is_neither_read_nor_moved() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = order()
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    assert order() == first


def test_buckets_keep_the_padding_small() -> None:
    plain = padding_share(training_order(LENGTHS, 32, 1, seed=0, epoch=0))
    bucketed = padding_share(training_order(LENGTHS, 32, 50, seed=0, epoch=0))
    assert plain > 0.4  # lengths from 4 to 127: a batch of 32 is padded to about twice its mean
    assert bucketed < 0.04


def test_batches_of_an_epoch_do_not_run_from_short_to_long() -> None:
    longest = [LENGTHS[batch].max() for batch in order(bucket_batches=50)]
    assert longest != sorted(longest)
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.5


def test_evaluation_takes_every_example_once_from_short_to_long() -> None:
    batches = evaluation_order(LENGTHS, 128)
    flat = np.concatenate(batches)
    assert sorted(flat.tolist()) == list(range(len(LENGTHS)))
    assert (np.diff(LENGTHS[flat]) >= 0).all()
    assert padding_share(batches) < 0.15  # 128 of 1,003 lengths span an eighth of their range


def split(segments: bool = True, labels: np.ndarray | None = None) -> EncodedSplit:
    """Three examples of 3, 5 and 2 tokens."""
    return EncodedSplit(
        tokens=np.array([2, 10, 3, 2, 11, 3, 12, 3, 2, 3], np.int32),
        segments=np.array([0, 0, 0, 0, 0, 0, 1, 1, 0, 0], np.int32) if segments else None,
        offsets=np.array([0, 3, 8, 10]),
        labels=np.array([1, 0, 1]) if labels is None else labels,
        idx=np.arange(3),
        pad_token=99,
    )


def test_a_batch_is_padded_on_the_right_to_its_longest_example() -> None:
    inputs, labels = collate(split(), np.array([2, 1]), CPU)
    assert inputs["input_ids"].tolist() == [[2, 3, 99, 99, 99], [2, 11, 3, 12, 3]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert labels.tolist() == [1, 0]
    assert {tensor.dtype for tensor in inputs.values()} == {torch.int64}


def test_a_batch_is_no_longer_than_its_own_longest_example() -> None:
    inputs, _ = collate(split(), np.array([0, 2]), CPU)
    assert inputs["input_ids"].tolist() == [[2, 10, 3], [2, 3, 99]]


def test_an_encoder_without_token_types_is_given_none() -> None:
    inputs, _ = collate(split(segments=False), np.array([0]), CPU)
    assert inputs.keys() == {"input_ids", "attention_mask"}


def test_labels_of_a_regression_stay_float32() -> None:
    _, labels = collate(split(labels=np.float32([0.5, 3.8, 5])), np.array([1, 0]), CPU)
    assert labels.dtype == torch.float32
    assert labels.tolist() == np.float32([3.8, 0.5]).tolist()
