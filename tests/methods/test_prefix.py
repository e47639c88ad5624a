"""Prefix tuning against ``peft``, and against attention over more keys and values in float64."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from peft.tuners.prefix_tuning import PrefixEncoder
from scipy.special import softmax
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from gluelamp.backbones.first_token import first_token_only
from gluelamp.methods.base import Adaptation
from gluelamp.methods.prefix import ATTENTION, Prefix, attention_with_prefix
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt, snapshot, train
from methods.dispatched import padded
from tiny_models import HEADS, HIDDEN, LAYERS, batch, logits, tiny

LENGTH, NETWORK = 3, 5
SHAPES = pytest.mark.parametrize("bottleneck", [None, NETWORK])

Array = np.ndarray


def prefix(**fields: object) -> Prefix:
    return Prefix(**{"length": LENGTH, **fields})


def adapted(architecture: str, **fields: object) -> Adaptation:
    """Return an adaptation in float64; every value is random, with another seed than the backbone's."""
    adaptation = adapt(prefix(**fields), tiny(architecture), seed=1)
    adaptation.model.double()
    return adaptation


def made(adaptation: Adaptation) -> Tensor:
    """Return the prefix (L, 2, q, d) as a task stores it."""
    (values,) = adaptation.method_state().values()
    return values


@pytest.mark.parametrize(
    ("architecture", "attention"),
    [("bert", "eager"), ("bert", "sdpa"), ("roberta", "eager"), ("electra", "eager")],
)
def test_it_is_pefts_but_for_the_positions_that_peft_shifts(architecture: str, attention: str) -> None:
    ours, inputs = adapted(architecture), padded()
    bare = tiny(architecture).double()
    bare.set_attn_implementation(attention)
    theirs = get_peft_model(bare, PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=LENGTH))
    theirs.double().eval()
    (flat,) = theirs.prompt_encoder["default"].parameters()
    flat.data = as_peft(made(ours)).clone()
    start = LENGTH + (2 if architecture == "roberta" else 0)
    shifted = torch.arange(start, start + inputs["input_ids"].shape[1]).unsqueeze(0)
    outputs, expected = ours.model(**inputs, position_ids=shifted).logits, theirs(**inputs).logits
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)
    probe = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((outputs * probe).sum(), list(ours.trainable.values()))
    (same,) = torch.autograd.grad((expected * probe).sum(), flat)
    torch.testing.assert_close(as_peft(gradient), same, atol=1e-11, rtol=0)
    assert not torch.allclose(logits(ours.model, inputs), expected, atol=1e-2)  # the tokens keep theirs


def as_peft(values: Tensor) -> Tensor:
    """Return a prefix (L, 2, q, d) as a row for each of q tokens."""
    return values.permute(2, 0, 1, 3).flatten(1)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra", "modernbert"])
def test_every_token_attends_to_the_prefix_and_to_the_real_tokens(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adaptation, inputs = adapted(architecture), padded()
    seen: list[list[Array]] = []

    def watch(module: nn.Module, *tensors: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        context, weights = attention_with_prefix(module, *tensors, **options)
        seen.append([x.numpy() for x in (*tensors[:3], context.transpose(1, 2))])
        return context, weights

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, ATTENTION, watch)
    logits(adaptation.model, inputs)
    real, positions = inputs["attention_mask"].bool().numpy(), np.arange(9)
    near = abs(positions[:, None] - positions) <= 4
    for layer, (query, key, value, context) in enumerate(seen):
        windowed = architecture == "modernbert" and layer == 1
        for row, head in product(range(len(query)), range(HEADS)):
            part = made(adaptation)[layer].unflatten(-1, (HEADS, -1))[:, :, head].numpy()
            allowed = real[row] & (near if windowed else True)
            expected = by_hand(query[row, head], key[row, head], value[row, head], part, allowed)
            np.testing.assert_allclose(context[row, head], expected, rtol=0, atol=1e-12)
    assert len(seen) == LAYERS


def by_hand(query: Array, key: Array, value: Array, prefix: Array, allowed: Array) -> Array:
    """Return what one head makes of one row (tokens, head size); ``prefix`` is (2, q, head size)."""
    scores = query @ np.concatenate([prefix[0], key]).T / np.sqrt(HIDDEN // HEADS)
    scores[:, LENGTH:][~np.broadcast_to(allowed, (len(query), len(key)))] = -np.inf
    return softmax(scores, axis=-1) @ np.concatenate([prefix[1], value])


def test_the_network_that_makes_a_prefix_is_pefts() -> None:
    adaptation = adapted("bert", bottleneck=NETWORK)
    ours = {name.rpartition("prefix.")[2]: value for name, value in adaptation.trainable.items()}
    config = PrefixTuningConfig(
        num_virtual_tokens=LENGTH,
        token_dim=HIDDEN,
        num_layers=LAYERS,
        encoder_hidden_size=NETWORK,
        prefix_projection=True,
    )
    theirs = PrefixEncoder(config).double()
    up = [ours[f"up.{layer}.weight"] for layer in range(LAYERS)]
    with torch.no_grad():
        theirs.embedding.weight.copy_(ours["embeddings"])
        theirs.transform[0].weight.copy_(ours["down.weight"])
        theirs.transform[0].bias.copy_(ours["down.bias"])
        theirs.transform[2].weight.copy_(torch.cat(up))
        theirs.transform[2].bias.copy_(torch.cat([ours[f"up.{layer}.bias"] for layer in range(LAYERS)]))
        expected = theirs(torch.arange(LENGTH))
    torch.testing.assert_close(as_peft(made(adaptation)), expected, atol=1e-13, rtol=0)


def test_a_computed_prefix_is_stored_as_a_flat_one_and_needs_no_network() -> None:
    source = adapt(prefix(bottleneck=NETWORK), tiny("bert"), seed=0)
    train(source, steps=3)
    target = adapt(prefix(), tiny("bert"), seed=1, state=snapshot(source))
    assert torch.equal(logits(target.model), logits(source.model))


@SHAPES
def test_the_start_is_random_as_pefts(bottleneck: int | None) -> None:
    method = prefix(length=400, bottleneck=bottleneck)
    randomised = next(iter(adapt(method, tiny("bert"), seed=0).trainable.values()))
    assert randomised.shape == ((LAYERS, 2, 400, HIDDEN) if bottleneck is None else (400, HIDDEN))
    assert randomised.std().item() == pytest.approx(1.0, rel=0.02)
    assert randomised.mean().item() == pytest.approx(0.0, abs=0.03)
    narrow = prefix(length=400, bottleneck=bottleneck, init_std=0.02)
    (value, *_) = adapt(narrow, tiny("bert"), seed=0).trainable.values()
    assert value.std().item() == pytest.approx(0.02, rel=0.02)


@SHAPES
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
def test_no_token_but_the_first_is_needed_after_the_last_attention(
    architecture: str, bottleneck: int | None
) -> None:
    adaptation, inputs = adapted(architecture, bottleneck=bottleneck), padded()
    values = list(adaptation.trainable.values())

    def found() -> list[Tensor]:
        outputs = adaptation.model(**inputs).logits
        return [outputs, *torch.autograd.grad(outputs.square().sum(), values)]

    assert not adaptation.needs_every_token
    expected = found()
    with first_token_only(adaptation.model):
        torch.testing.assert_close(found(), expected)


@SHAPES
def test_a_pass_in_bf16_is_near_and_what_is_stored_is_exact(bottleneck: int | None) -> None:
    adaptation = adapt(prefix(bottleneck=bottleneck), tiny("bert"), seed=0)
    outputs, state = logits(adaptation.model), snapshot(adaptation)
    weights = MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    near = logits(adaptation.model)
    assert {value.dtype for value in adaptation.trainable.values()} == {torch.bfloat16}
    torch.testing.assert_close(near, outputs, atol=0.1, rtol=0)  # of outputs about 1
    with weights.fp32_values():
        again = adaptation.task_state()
    assert all(torch.equal(value, state[name]) for name, value in again.items())
    for cast_first in (True, False):
        target = adapt(prefix(bottleneck=bottleneck), tiny("bert"), seed=1)
        if cast_first:
            MasterWeights(target.model, [], torch.bfloat16)
        target.load_task_state(state)
        if not cast_first:
            MasterWeights(target.model, [], torch.bfloat16)
        torch.testing.assert_close(logits(target.model), near, atol=0.05, rtol=0)


@SHAPES
def test_a_copy_has_its_own_prefix(bottleneck: int | None) -> None:
    adaptation = adapted("bert", bottleneck=bottleneck)
    before = logits(adaptation.model)
    copied = copy.deepcopy(adaptation.model)
    for value in adaptation.trainable.values():
        nn.init.zeros_(value)
    assert torch.equal(logits(copied), before)
    assert not torch.equal(logits(adaptation.model), before)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_models_own_attention_comes_back(attention: str) -> None:
    model = tiny("bert")
    model.set_attn_implementation(attention)
    before = logits(model)
    adaptation = prefix().adapt(model)
    assert not torch.allclose(logits(model), before, atol=1e-3)
    adaptation.detach()
    assert model.config._attn_implementation == attention
    assert not any("prefix" in vars(module) for module in model.modules())
    assert torch.equal(logits(model), before)


def test_without_a_mask_every_token_is_real() -> None:
    model, inputs = adapted("bert").model, batch()
    assert torch.equal(logits(model, {"input_ids": inputs["input_ids"]}), logits(model, inputs))
