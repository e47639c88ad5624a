"""The handles of every architecture: their shapes, their position in the computation, their completeness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForSequenceClassification,
    GPT2Config,
)
from transformers.masking_utils import eager_mask

from gluelamp.backbones.anatomy import ARCHITECTURES, HANDLES, anatomy, output_layer
from gluelamp.backbones.dropout import attention_forward
from gluelamp.backbones.load import BackboneConfig, build_from_shape, set_attention
from gluelamp.errors import InputError
from gluelamp.package_data import CONFIGS
from tiny_models import FFN, HIDDEN, LAYERS, OUTPUTS, SHAPES, batch, logits, tiny

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
# The first letter of a projection's name in transformers; query, key and value have equal shapes.
INITIALS = {"attention.query": "q", "attention.key": "k", "attention.value": "v"}
LINEAR = {
    **dict.fromkeys([*INITIALS, "attention.output"], (HIDDEN, HIDDEN)),
    "ffn.up": (FFN, HIDDEN),
    "ffn.down": (HIDDEN, FFN),
}
MISSING = {
    "deberta-v2": {"attention.function"},
    "mpnet": {"attention.function"},
    "modernbert": {*INITIALS, "attention.norm", "ffn.up", "ffn.norm"},
}


def test_the_tiny_models_cover_every_architecture() -> None:
    assert SHAPES.keys() == ARCHITECTURES.keys()


@architectures
def test_every_handle_exists_except_the_declared_ones(architecture: str) -> None:
    parts = anatomy(tiny(architecture))
    assert len(parts.blocks) == LAYERS
    for block in parts.blocks:
        assert set(HANDLES) - block.handles.keys() == MISSING.get(architecture, set())


@architectures
def test_every_handle_has_the_shape_of_its_part(architecture: str) -> None:
    model = tiny(architecture)
    for number, block in enumerate(anatomy(model).blocks):
        for name, handle in block.handles.items():
            assert model.get_submodule(handle.path) is handle.module
            assert f".{number}." in handle.path
            if name in LINEAR:
                assert handle.module.weight.shape == LINEAR[name], name
            if name in INITIALS:
                assert handle.path.rpartition(".")[2].startswith(INITIALS[name])
            if name.endswith("norm"):
                assert isinstance(handle.module, nn.LayerNorm)
                assert handle.module.weight.shape == (HIDDEN,)


@architectures
def test_the_branches_are_added_to_the_residual_stream(architecture: str) -> None:
    model = tiny(architecture)
    block = anatomy(model).blocks[1]
    path = block["ffn.down"].path.split(".1.")[0] + ".1"
    seen: dict[str, Tensor] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            seen[f"{name}.in"] = inputs[0] if inputs else torch.empty(0)
            seen[f"{name}.out"] = output if isinstance(output, Tensor) else output[0]

        return hook

    for name, handle in block.handles.items():
        handle.module.register_forward_hook(record(name))
    model.get_submodule(path).register_forward_hook(record("block"))
    with torch.no_grad():
        model(**batch())
    attention, ffn = seen["attention.branch.out"], seen["ffn.branch.out"]
    if architecture == "modernbert":  # pre-LN: the stream is the sum itself
        torch.testing.assert_close(seen["block.out"], seen["block.in"] + attention + ffn)
        normalised = model.get_submodule(f"{path}.mlp_norm")(seen["block.in"] + attention)
        torch.testing.assert_close(seen["ffn.input.in"], normalised)
        return
    torch.testing.assert_close(seen["attention.norm.in"], attention + seen["block.in"])
    torch.testing.assert_close(seen["ffn.norm.in"], ffn + seen["attention.norm.out"])
    assert torch.equal(seen["block.out"], seen["ffn.norm.out"])
    # In evaluation mode the branch is the projection: dropout does nothing.
    assert torch.equal(attention, seen["attention.output.out"])
    assert torch.equal(ffn, seen["ffn.down.out"])
    assert torch.equal(seen["ffn.up.in"], seen["attention.norm.out"])
    assert torch.equal(seen["ffn.input.in"], seen["attention.norm.out"])


@architectures
def test_the_attention_function_is_called_from_its_handle(architecture: str) -> None:
    called: list[nn.Module] = []

    def watched(module: nn.Module, *tensors: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        called.append(module)
        return attention_forward(module, *tensors, **options)

    AttentionInterface.register("watched", watched)
    AttentionMaskInterface.register("watched", eager_mask)
    model = set_attention(tiny(architecture), "watched")
    with torch.no_grad():
        model(**batch())
    blocks = anatomy(model).blocks
    handles = [b["attention.function"].module for b in blocks if "attention.function" in b.handles]
    assert [id(module) for module in called] == [id(module) for module in handles]


@architectures
def test_encoder_pooler_and_head_partition_all_parameters(architecture: str) -> None:
    model = tiny(architecture)
    parts = anatomy(model)
    outside = [*parts.head, *([parts.pooler] if parts.pooler else [])]
    names = [f"{part.path}.{name}" for part in outside for name, _ in part.module.named_parameters()]
    together = [*parts.encoder_parameters, *names]
    assert sorted(together) == sorted(name for name, _ in model.named_parameters())
    assert list(parts.encoder_parameters) == sorted(parts.encoder_parameters)
    assert all(name.startswith(f"{model.base_model_prefix}.") for name in parts.encoder_parameters)


@architectures
def test_the_head_is_what_a_checkpoint_of_the_encoder_lacks(architecture: str) -> None:
    # The base model of a published checkpoint holds the encoder, and BERT's its pooler.
    model = tiny(architecture)
    parts = anatomy(model)
    base = {f"{model.base_model_prefix}.{name}" for name, _ in model.base_model.named_parameters()}
    outside = base - {*parts.encoder_parameters}
    bert_pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert outside == (bert_pooler if architecture == "bert" else set())
    assert outside <= {name for part in parts.head for name in part.parameter_names()}


@pytest.mark.parametrize("handle", sorted(MISSING["modernbert"]))
def test_a_missing_handle_is_named(handle: str) -> None:
    block = anatomy(tiny("modernbert")).blocks[0]
    with pytest.raises(InputError, match=rf"no separate '{handle}'.*It has: attention\.output"):
        block[handle]


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    shape = GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(InputError, match=r"architecture 'gpt2' is unknown.*Known: bert, deberta-v2"):
        anatomy(AutoModelForSequenceClassification.from_config(shape))


# Encoder without pooler and head, by hand from the public configurations.
ENCODERS = {
    "bert_base": 108_891_648,
    "bert_large": 334_092_288,
    "deberta_v3_base": 183_831_552,
    "distilbert": 66_362_880,
    "electra_small": 13_483_008,
    "minilm": 22_565_376,
    "modernbert_base": 149_014_272,
    "mpnet_base": 108_895_872,
    "mpnet_sentence": 108_895_872,
    "roberta_base": 124_055_040,
    "roberta_large": 354_310_144,
    "tiny": 53_312,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml")))
def test_every_backbone_config_builds_with_an_anatomy(
    name: str, compose: Callable[..., dict[str, Any]]
) -> None:
    config = BackboneConfig(**compose(f"backbone={name}")["backbone"])
    with torch.device("meta"):
        model = build_from_shape(config, 2, "eager")
    parts = anatomy(model)
    size = sum(model.get_parameter(name).numel() for name in parts.encoder_parameters)
    assert size == ENCODERS[name]
    assert parts.blocks[0].handles.keys() == set(HANDLES) - MISSING.get(model.config.model_type, set())


@architectures
def test_the_output_layer_gives_the_outputs(architecture: str) -> None:
    model = tiny(architecture)
    layer = output_layer(model)
    before = logits(model)
    layer.bias.data += torch.arange(OUTPUTS)
    torch.testing.assert_close(logits(model), before + torch.arange(OUTPUTS))
