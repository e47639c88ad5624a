"""Dropout masks of 16 random bits per element, and the attention that uses them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from gluelamp.backbones.anatomy import ARCHITECTURES
from gluelamp.backbones.dropout import Dropout, DropoutMasks, attention_forward, install_dropout
from gluelamp.methods.houlsby import Houlsby
from tiny_models import batch, logits, tiny

COUNT = 1_000_000
LANES = 4  # 16-bit numbers in one 64-bit random number


def mask(p: float, seed: int = 0, count: int = COUNT, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return DropoutMasks(seed).sample(torch.Size([count]), p, dtype)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_fraction_that_remains_is_within_five_sigma(p: float) -> None:
    fraction = (mask(p) != 0).double().mean().item()
    assert abs(fraction - (1 - p)) < 5 * math.sqrt(p * (1 - p) / COUNT)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_mean_is_preserved(p: float) -> None:
    values = mask(p)
    assert values.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    assert values.double().mean().item() == pytest.approx(1, abs=5 * math.sqrt(p / (1 - p) / COUNT))


@pytest.mark.parametrize("lane", range(LANES))
def test_every_lane_of_a_random_number_is_uniform(lane: int) -> None:
    # One seed gives one sequence of numbers, so masks at p = i/16 put each number into one of 16 bins. The
    # middle bound is the highest bit: a lane in which it is always zero fails here, but not on average.
    remaining = [mask(i / 16)[lane::LANES].count_nonzero().item() for i in range(16)]
    counts = np.array(remaining) - np.array([*remaining[1:], 0])
    assert counts.sum() == COUNT / LANES
    assert chisquare(counts).pvalue > 1e-4


def test_lanes_and_neighbours_are_independent() -> None:
    signs = (mask(0.5) != 0).double() * 2 - 1
    for distance in (1, 2, 3, 4, 8):
        correlation = (signs[distance:] * signs[:-distance]).mean().item()
        assert abs(correlation) < 5 / math.sqrt(COUNT - distance)


def test_the_same_seed_gives_the_same_masks_in_the_same_order() -> None:
    first, second, other = DropoutMasks(3), DropoutMasks(3), DropoutMasks(4)
    shape = torch.Size([7, 11])
    ours = [first.sample(shape, 0.5, torch.float32) for _ in range(3)]
    assert all(torch.equal(m, second.sample(shape, 0.5, torch.float32)) for m in ours)
    assert not torch.equal(ours[0], ours[1])
    assert not torch.equal(ours[0], other.sample(shape, 0.5, torch.float32))


def test_the_masks_do_not_use_the_generator_of_torch() -> None:
    before = torch.get_rng_state()
    mask(0.5, count=10)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mask_in_bf16_drops_the_same_elements() -> None:
    assert torch.equal(mask(0.1, dtype=torch.bfloat16) != 0, mask(0.1) != 0)


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True)], ids=["evaluation", "p-0"])
def test_dropout_is_the_identity_if_nothing_is_dropped(p: float, training: bool) -> None:
    x = torch.randn(5)
    assert Dropout(p, DropoutMasks(0)).train(training)(x) is x


def test_forward_and_backward_use_the_same_mask() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.25, DropoutMasks(0))(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert 0 < x.grad.count_nonzero() < 1000


def attention_inputs(masked: bool) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 7, 8, generator=generator) for _ in range(3))
    hidden = torch.zeros(2, 1, 1, 7)
    hidden[1, ..., 5:] = torch.finfo(torch.float32).min
    return query, key, value, hidden if masked else None


@pytest.mark.parametrize("scaling", [None, 0.3], ids=["default-scale", "own-scale"])
@pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])
def test_attention_equals_that_of_torch(masked: bool, scaling: float | None) -> None:
    query, key, value, hidden = attention_inputs(masked)
    ours, weights = attention_forward(nn.Module(), query, key, value, hidden, scaling)
    reference = nn.functional.scaled_dot_product_attention(query, key, value, hidden, scale=scaling)
    torch.testing.assert_close(ours, reference.transpose(1, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 7))


def test_attention_uses_the_dropout_module_of_its_module() -> None:
    query, key, value, _ = attention_inputs(masked=False)
    module = nn.Module()
    module.dropout = Dropout(0.5, DropoutMasks(0))
    ours, weights = attention_forward(module, query, key, value, None, dropout=0.9)
    dropped = weights * DropoutMasks(0).sample(weights.shape, 0.5, torch.float32)
    assert torch.equal(ours, (dropped @ value).transpose(1, 2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_outputs_of_a_model_equal_those_with_the_attention_of_torch(architecture: str) -> None:
    model = tiny(architecture)
    inputs = batch()
    inputs["attention_mask"][0, 5:] = 0
    ours = logits(model, inputs)
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    torch.testing.assert_close(ours, logits(model, inputs), atol=5e-6, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_dropout_modules_of_a_model_share_one_generator(architecture: str) -> None:
    model = tiny(architecture)
    before = {name: (m.p, m.training) for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    masks = install_dropout(model, seed=0)
    after = {name: m for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert {name: (m.p, m.training) for name, m in after.items()} == before
    assert all(type(module) is Dropout and module.masks is masks for module in after.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_a_training_pass(architecture: str) -> None:
    model = tiny(architecture)

    def training_pass(seed: int) -> torch.Tensor:
        install_dropout(model, seed)
        torch.manual_seed(0)  # some architectures drop attention weights by torch's own function
        with torch.no_grad():
            return model.train()(**batch()).logits

    first, again, other = training_pass(0), training_pass(0), training_pass(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_adapter_on_a_dropout_module_remains() -> None:
    model = tiny("bert")
    adaptation = Houlsby(init_std=0.5).adapt(model)
    before = logits(model)
    install_dropout(model, seed=0)
    assert torch.equal(logits(model), before)
    model.train()(**batch()).logits.sum().backward()
    assert all(value.grad is not None for value in adaptation.trainable.values())
