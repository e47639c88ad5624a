"""The ids are those of the tokenizer, with and without the cache."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from gluelamp.tasks import encoding
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.tasks.glue import GLUE

FIRST = ["The film was sold in the town.", "Why?", "", "A café on one park that was in the museum"]
SECOND = ["It is the museum.", "That was two for one, and how!", "For what", "No"]
PAIRS = pd.DataFrame({"idx": [7, 3, 5, 4], "sentence1": FIRST, "sentence2": SECOND, "label": [1, 0, 0, 1]})
SINGLE = pd.DataFrame({"idx": [7, 3, 5, 4], "sentence": FIRST, "label": [1, 0, 0, 1]})
MRPC, COLA, STSB = GLUE["mrpc"], GLUE["cola"], GLUE["stsb"]


@pytest.fixture
def tokenizer(tiny_backbone: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_backbone)


def rows(split: EncodedSplit, values: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(values, split.offsets[1:-1])]


def assert_equal(one: EncodedSplit, other: EncodedSplit) -> None:
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name, strict=True)


@pytest.mark.parametrize("max_length", [8, 64])
def test_pairs_are_what_the_tokenizer_returns(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    split = encode(PAIRS, MRPC, tokenizer, max_length)
    for number, (first, second) in enumerate(zip(FIRST, SECOND, strict=True)):
        alone = tokenizer(first, second, truncation="longest_first", max_length=max_length)
        assert rows(split, split.tokens)[number] == alone["input_ids"]
        assert rows(split, split.segments)[number] == alone["token_type_ids"]


def test_single_texts_are_what_the_tokenizer_returns(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode(SINGLE, COLA, tokenizer, 64)
    assert rows(split, split.tokens) == [tokenizer(text)["input_ids"] for text in FIRST]
    assert not split.segments.any()


def test_ids_are_those_of_the_word_pieces(tokenizer: PreTrainedTokenizerBase) -> None:
    frame = pd.DataFrame({"idx": [0], "sentence": ["The cafe!"], "label": [1]})
    split = encode(frame, COLA, tokenizer, 64)
    pieces = ["[CLS]", "the", "c", "##a", "##f", "##e", "!", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(split.tokens.tolist()) == pieces


def test_the_longer_text_of_a_pair_is_cut_first(tokenizer: PreTrainedTokenizerBase) -> None:
    frame = pd.DataFrame({"idx": [0], "sentence1": ["in " * 30], "sentence2": ["of of of"], "label": [1]})
    split = encode(frame, MRPC, tokenizer, 16)
    pieces = tokenizer.convert_ids_to_tokens(split.tokens.tolist())
    assert len(pieces) == 16
    assert pieces.count("of") == 3
    assert pieces.count("in") == 16 - 3 - 3  # [CLS] and two [SEP] stay


def test_labels_and_row_numbers_keep_the_order_of_the_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    split = encode(PAIRS, MRPC, tokenizer, 64)
    assert split.labels.tolist() == [1, 0, 0, 1]
    assert split.labels.dtype == np.int64
    assert split.idx.tolist() == [7, 3, 5, 4]
    assert split.pad_token == tokenizer.pad_token_id
    assert len(split) == 4
    assert split.lengths.sum() == len(split.tokens) == len(split.segments)


def test_an_encoder_without_token_types_gets_none(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert encode(PAIRS, MRPC, tokenizer, 64).segments is None


def test_the_cache_returns_equal_arrays_without_the_tokenizer(tiny_backbone: Path, tmp_path: Path) -> None:
    def fresh() -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(tiny_backbone)

    written = encode(PAIRS, MRPC, fresh(), 16, tmp_path / "cache")
    unused = fresh()
    with patch.object(type(unused), "__call__") as call:
        assert_equal(encode(PAIRS, MRPC, unused, 16, tmp_path / "cache"), written)
        call.assert_not_called()
        unused("this call is counted")
        call.assert_called_once()
    assert_equal(encode(PAIRS, MRPC, fresh(), 16), written)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_damaged_file_of_the_cache_is_computed_again(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, length: int
) -> None:
    written = encode(PAIRS, MRPC, tokenizer, 16, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    assert_equal(encode(PAIRS, MRPC, tokenizer, 16, tmp_path), written)
    assert file.read_bytes() == whole


def test_labels_are_not_cached(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    encode(PAIRS, MRPC, tokenizer, 16, tmp_path)
    relabelled = encode(PAIRS.assign(label=[0, 1, 1, 0]), MRPC, tokenizer, 16, tmp_path)
    assert relabelled.labels.tolist() == [0, 1, 1, 0]
    similarities = encode(PAIRS.assign(label=[0.0, 3.8, 5.0, 2.5]), STSB, tokenizer, 16, tmp_path)
    np.testing.assert_array_equal(similarities.labels, np.float32([0.0, 3.8, 5.0, 2.5]), strict=True)
    # one key, although the tokenizer has stored the truncation of the earlier calls
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_depends_on_texts_tokenizer_and_length(tiny_backbone: Path, tmp_path: Path) -> None:
    def cached(frame: pd.DataFrame, max_length: int = 16, **options: bool) -> int:
        tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
        if options:
            tokenizer.backend_tokenizer.normalizer.lowercase = options["lowercase"]
        split = encode(frame, MRPC, tokenizer, max_length, tmp_path)
        assert_equal(split, encode(frame, MRPC, tokenizer, max_length))
        return len(list(tmp_path.iterdir()))

    assert cached(PAIRS) == 1
    assert cached(PAIRS, max_length=17) == 2
    assert cached(PAIRS.iloc[:3]) == 3
    assert cached(PAIRS.iloc[::-1]) == 4
    assert cached(PAIRS, lowercase=False) == 5
    moved = PAIRS.assign(sentence1=[f"{FIRST[0]} ", *FIRST[1:]])
    assert cached(moved) == 6
    assert cached(PAIRS) == 6


COLUMNS = st.lists(st.lists(st.text("ab \0", max_size=3), max_size=3), min_size=1, max_size=2)


@settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(COLUMNS, COLUMNS)
@example([["a\0b"]], [["a", "b"]])
@example([["a", "b"]], [["a"], ["b"]])
@example([["a"], []], [[], ["a"]])
def test_two_inputs_never_share_a_key(
    tokenizer: PreTrainedTokenizerBase, one: list[list[str]], other: list[list[str]]
) -> None:
    keys = [encoding._key(texts, tokenizer, 16) for texts in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_two_single_texts_are_not_taken_for_a_pair(
    tokenizer: PreTrainedTokenizerBase, tiny_backbone: Path, tmp_path: Path
) -> None:
    single = pd.DataFrame({"idx": [0, 1], "sentence": ["in", "of"], "label": [0, 1]})
    pair = pd.DataFrame({"idx": [0], "sentence1": ["in"], "sentence2": ["of"], "label": [0]})
    encode(single, COLA, tokenizer, 16, tmp_path)
    fresh = AutoTokenizer.from_pretrained(tiny_backbone)
    assert_equal(encode(pair, MRPC, fresh, 16, tmp_path), encode(pair, MRPC, fresh, 16))
