"""Whether the files of a model folder fit each other and the task. They are checked before any training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from gluelamp.backbones.anatomy import ARCHITECTURES, architecture_of, new_head
from gluelamp.errors import InputError, unknown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_CONFIG = "config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"

# With another value the model is no encoder, or its outputs have no names.
_FLAGS = {"is_decoder": False, "add_cross_attention": False, "is_encoder_decoder": False, "return_dict": True}
# Options that make transformers read other files, code or formats than those that are checked and hashed.
_REDIRECTIONS = {
    "auto_map": "code of its own, which is not run",
    "configuration_files": "other configurations, of which the version of transformers would select one",
    "fast_tokenizer_files": "other tokenizers, of which the version of transformers would select one",
    "quantization_config": "quantized weights, which cannot be trained",
    "transformers_weights": f"another file of weights than {_WEIGHTS}",
}
# Buffers that old versions of transformers stored and that new ones compute.
_BUFFERS = ("position_ids", "token_type_ids", "inv_freq")
_DTYPES = ("F64", "F32", "F16", "BF16")
_PROBE = "a \u2603 lamp"  # the snowman is in few vocabularies, and needs an unknown token


def check_folder(folder: Path) -> None:
    """Refuse a model folder that holds no plain encoder.

    Args:
        folder: with ``config.json`` and safetensors.

    Raises:
        InputError: if the architecture is unknown, an option makes the model no encoder, or ``transformers``
            would read adapters, code or weights that are not part of the checksums.
    """
    config = _read_object(folder / _CONFIG)
    model_type = config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise unknown(f"{folder / _CONFIG}: model_type", str(model_type), ARCHITECTURES)
    for name, needed in _FLAGS.items():
        if config.get(name, needed) is not needed:
            raise InputError(
                f"{folder / _CONFIG} sets {name} to {config[name]!r}. Set it to {str(needed).lower()}: texts "
                "are classified by an encoder with named outputs."
            )
    tokenizer_config = folder / "tokenizer_config.json"
    _check_redirections(folder / _CONFIG, config)
    if tokenizer_config.is_file():
        _check_redirections(tokenizer_config, _read_object(tokenizer_config))
    if (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{folder} holds an adapter next to the weights (adapter_config.json), and the backbone would be "
            "both. Merge the adapter into the weights with peft's merge_and_unload(), or remove its files."
        )
    _check_weight_files(folder)


def _check_redirections(path: Path, options: Mapping[str, Any]) -> None:
    for name, content in _REDIRECTIONS.items():
        if options.get(name):
            raise InputError(
                f"{path} names {content} ({name}). Take a checkpoint that transformers loads without it."
            )


def _check_weight_files(folder: Path) -> None:
    files = {path.name for path in folder.glob("*.safetensors")}
    if any(name.startswith("shard-") for name in files):
        raise InputError(
            f"{folder} holds a distributed checkpoint (shard-*.safetensors). Load it, and store it with "
            f"save_pretrained() as {_WEIGHTS}."
        )
    if _WEIGHTS in files:
        return
    if not (folder / _INDEX).is_file():
        raise InputError(
            f"{folder} holds neither {_WEIGHTS} nor {_INDEX}, but {', '.join(sorted(files))}. Rename the "
            f"file of the weights to {_WEIGHTS}."
        )
    shards = _read_object(folder / _INDEX).get("weight_map")
    named = set(map(str, shards.values())) if isinstance(shards, dict) else set()
    if named != files:
        raise InputError(
            f"{folder / _INDEX} names other files than the folder holds: {', '.join(sorted(named ^ files))}. "
            "Copy the index and all its files from one checkpoint."
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object. Copy it from the checkpoint again.")
    return content


def check_weights(folder: Path, model: PreTrainedModel, report: Mapping[str, Any]) -> None:
    """Refuse weights that do not fit the configuration, or that are not finite numbers.

    Args:
        folder: of the weights, for the errors.
        model: a sequence classifier, as it was loaded.
        report: of ``from_pretrained(output_loading_info=True)``.

    Raises:
        InputError: if tensors of the encoder are missing, left over, of another shape or not finite.
    """
    head = tuple(f"{path}." for path in new_head(model))
    misfits = [name for name, *_ in report["mismatched_keys"] if not name.startswith(head)]
    if misfits:
        raise InputError(
            f"{folder} holds no usable encoder: {misfits[0]!r} has another shape than in "
            "config.json. Take both files from one checkpoint."
        )
    if lost := sorted(name for name in report["missing_keys"] if not name.startswith(head)):
        raise InputError(
            f"{folder} holds no complete encoder: it lacks {lost[0]!r}, one of {len(lost)} tensors "
            "that would be random. Take a checkpoint that has them."
        )
    _check_surplus(folder, model, report["unexpected_keys"])
    _check_dtypes(folder)
    for name, value in model.named_parameters():
        # A sum is 15 times as fast as a test of each value, and is finite only if all values are.
        if not value.sum().isfinite() and not value.isfinite().all() and not name.startswith(head):
            raise InputError(
                f"{folder} holds damaged weights: {name!r} has values that are NaN or infinite. Copy the "
                "weights again, or take a checkpoint from before its training diverged."
            )


def _check_dtypes(folder: Path) -> None:
    """Refuse integers, which transformers would convert to floating point without their scales."""
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - it is no mapping
                dtype = stream.get_slice(name).get_dtype()
                if name.endswith((".weight", ".bias")) and dtype not in _DTYPES:
                    raise InputError(
                        f"{path} holds quantized weights: {name!r} has the type {dtype}. Take a checkpoint "
                        "in fp32, fp16 or bf16."
                    )


def _check_surplus(folder: Path, model: PreTrainedModel, unexpected: set[str]) -> None:
    """Refuse tensors of the encoder that the configuration has no place for. Heads are not used."""
    surplus = sorted(name for name in unexpected if _is_of_encoder(model, name))
    if not surplus:
        return
    layers = rf"(?:^|\.){re.escape(architecture_of(model).layers)}\.(\d+)\."
    numbers = [int(found[1]) + 1 for name in surplus if (found := re.search(layers, name))]
    count = model.config.num_hidden_layers
    if numbers and max(numbers) > count:
        raise InputError(
            f"{folder}: config.json has {count} layers and the weights have {max(numbers)}. Take both files "
            "from one checkpoint."
        )
    raise InputError(
        f"{folder}: the weights hold {surplus[0]!r}, one of {len(surplus)} tensors that an encoder of this "
        "config.json does not have. Take both files from one checkpoint."
    )


def _is_of_encoder(model: PreTrainedModel, name: str) -> bool:
    prefix = f"{model.base_model_prefix}."
    parts = name.removeprefix(prefix).split(".")
    # The pooler of a pre-training task is not part of a classifier that has a head of its own.
    if parts[0] == "pooler" or parts[-1] in _BUFFERS:
        return False
    return name.startswith(prefix) or parts[0] in dict(model.base_model.named_children())


def check_tokenizer(
    folder: Path, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, texts: int
) -> None:
    """Refuse a tokenizer that does not fit the encoder or the task.

    Args:
        folder: of the tokenizer, for the errors.
        tokenizer: as it was loaded.
        config: of the encoder.
        texts: number of texts in an example of the task, 1 or 2.

    Raises:
        InputError: if the vocabulary is empty or larger than the embeddings, padding or special tokens are
            missing, the padding is another token than the encoder's, or token types have no embedding.
    """
    vocabulary = tokenizer.get_vocab()
    if not set(vocabulary) - set(tokenizer.all_special_tokens):
        raise InputError(
            f"{folder} holds a tokenizer with an empty vocabulary. Copy the tokenizer's files again."
        )
    if (largest := max(vocabulary.values())) >= config.vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has token ids up to {largest}, and config.json has embeddings for "
            f"{config.vocab_size} tokens (vocab_size). Take the tokenizer that the weights were trained with."
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"{folder} holds a tokenizer without the format of the library tokenizers. Save one with a "
            "tokenizer.json."
        )
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"{folder}: the tokenizer has no pad_token, so texts of different lengths cannot form a batch. "
            "Name it in tokenizer_config.json."
        )
    expected = config.pad_token_id
    if expected is not None and tokenizer.pad_token_id != expected:
        raise InputError(
            f"{folder}: the tokenizer pads with token {tokenizer.pad_token_id}, and config.json has "
            f"pad_token_id {expected}. Take both files from one checkpoint."
        )
    _check_encoding(folder, tokenizer, config, texts)


def _check_encoding(
    folder: Path, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, texts: int
) -> None:
    """Refuse what an example shows: words that cannot be encoded, no special tokens, unknown token types."""
    try:
        encoded = tokenizer(*[_PROBE] * texts, return_special_tokens_mask=True)
    except Exception as error:  # a tokenizer without an unknown token raises exceptions of several types
        raise InputError(
            f"{folder}: the tokenizer cannot encode {_PROBE!r}, since its vocabulary has no token for "
            f"unknown words ({error}). Copy the tokenizer's files again."
        ) from error
    added = encoded["special_tokens_mask"]
    # The head reads the first token, and a pair needs a separator.
    if not added[0] or not added[-1] or sum(added) <= texts:
        raise InputError(
            f"{folder}: the tokenizer adds no special tokens such as [CLS] and [SEP] to a text. Save it with "
            "a post_processor in tokenizer.json, as the weights were trained with."
        )
    # An encoder with 0 types, such as DeBERTa, ignores them.
    types = getattr(config, "type_vocab_size", 0)
    largest = max(encoded.get("token_type_ids", [0]))
    if types and largest >= types:
        raise InputError(
            f"{folder}: the tokenizer gives token type {largest} to the second text of a pair, and "
            f"config.json has embeddings for {types} (type_vocab_size). Leave token_type_ids out of "
            "model_input_names in tokenizer_config.json."
        )
