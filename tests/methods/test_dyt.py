"""DyT against its formulas in float64: who is active, and the two ways to compute a block."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor, nn

from gluelamp.methods.dyt import Dispatcher
from methods.dispatched import active_fraction, dyt, networks, padded, randomised, watch_masks
from methods.rows import ARCHITECTURES
from tiny_models import FFN, HIDDEN, LAYERS, batch, logits, tiny


def test_a_block_is_the_formula() -> None:
    bare = tiny("bert").double()
    adaptation = randomised(scale=0.3)
    bare_layer, layer = bare.bert.encoder.layer[0], adaptation.model.bert.encoder.layer[0]
    (network, *_) = networks(adaptation)
    x = torch.randn(2, 7, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        u = bare_layer.attention(x)[0]
        m = bare_layer.output.dense(bare_layer.intermediate(u))
        active = u @ network.dispatcher.score.weight[0] + network.dispatcher.score.bias > 0
        active[:, 0] = True
        down, up = network.adapter.down, network.adapter.up
        parallel = torch.relu(u @ down.weight.T + down.bias) @ up.weight.T + up.bias
        expected = bare_layer.output.LayerNorm(active.unsqueeze(-1) * m + 0.3 * parallel + u)
        output = layer(x)
    assert 0.2 < active[:, 1:].double().mean() < 0.8
    hidden = output if isinstance(output, Tensor) else output[0]
    torch.testing.assert_close(hidden, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_computing_the_active_tokens_alone_gives_what_masking_gives(architecture: str) -> None:
    adaptation, inputs = randomised(architecture), padded()
    compact = logits(adaptation.model, inputs)
    for network in networks(adaptation):
        network.training = True  # masks the output, as in training; the dispatcher still samples nothing
    with torch.no_grad():
        masked = adaptation.model(**inputs).logits
    assert not torch.equal(compact, logits(tiny(architecture).double(), inputs))
    torch.testing.assert_close(compact, masked, atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_evaluation_the_network_computes_no_other_token(architecture: str) -> None:
    adaptation = randomised(architecture)
    masks, computed = watch_masks(adaptation), []
    for module in adaptation.model.modules():
        if isinstance(module, nn.Linear) and module.out_features in (FFN, 2 * FFN):
            module.register_forward_hook(lambda _, __, output: computed.append(output.shape))
    logits(adaptation.model, padded())
    assert [(len(shape), shape[0]) for shape in computed] == [(2, int(mask.sum())) for mask in masks]
    assert len(masks) == LAYERS


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("by_name", [True, False])
def test_the_first_token_is_always_active_and_padding_never(training: bool, by_name: bool) -> None:
    adaptation, inputs = randomised(), padded()
    masks = watch_masks(adaptation)
    torch.manual_seed(0)
    adaptation.model.train(training)
    for bias in (-10.0, 0.0, 10.0):
        for network in networks(adaptation):
            nn.init.constant_(network.dispatcher.score.bias, bias)
        adaptation.model(**inputs) if by_name else adaptation.model(*inputs.values())
    real = inputs["attention_mask"]
    assert all(mask[:, 0].all() and not mask[real == 0].any() for mask in masks)
    assert {len(mask.unique()) for mask in masks} == {2}
    fractions = [active_fraction(masks[i : i + LAYERS], real) for i in (0, LAYERS, len(masks) - LAYERS)]
    assert fractions[0] < fractions[1] < fractions[2]


def test_without_a_mask_every_token_is_real() -> None:
    adaptation, inputs = randomised(), batch()
    expected = logits(adaptation.model, inputs)
    logits(adaptation.model, padded())
    assert torch.equal(logits(adaptation.model, {"input_ids": inputs["input_ids"]}), expected)


def test_the_random_mask_is_a_gumbel_sigmoid_with_the_gradient_of_its_soft_form() -> None:
    dispatcher = Dispatcher(dyt(tau=3.0), 1).double()
    nn.init.ones_(dispatcher.score.weight)
    levels = torch.tensor([-2.0, 0.0, 1.0], dtype=torch.float64)
    hidden = levels.repeat(20_000, 1).unsqueeze(-1).requires_grad_()
    torch.manual_seed(0)
    mask = dispatcher.train()(torch.cat([hidden[:, :1], hidden], dim=1), torch.ones(20_000, 4))[:, 1:]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    # The difference of two Gumbel variables is logistic: the chance is the sigmoid, at any tau.
    np.testing.assert_allclose(mask.detach().mean(0), expit(levels.numpy()), atol=0.01)
    (gradient,) = torch.autograd.grad(mask.sum(), hidden)
    torch.manual_seed(0)
    uniform = torch.rand(20_000, 4)[:, 1:].double().numpy()
    soft = expit((levels.numpy() + np.log(uniform) - np.log1p(-uniform)) / 3.0)
    np.testing.assert_array_equal(mask.detach().numpy(), soft > 0.5)
    np.testing.assert_allclose(gradient[..., 0].numpy(), soft * (1 - soft) / 3.0, rtol=1e-5)


def test_the_start_is_the_backbone_but_for_the_tokens_that_skip() -> None:
    adaptation = dyt().adapt(tiny("bert"))
    for network in networks(adaptation):
        assert network.dispatcher.score.weight.std().item() == pytest.approx(0.02, rel=0.5)
        assert not network.dispatcher.score.bias.any()
        nn.init.constant_(network.dispatcher.score.bias, 100.0)
    bare = tiny("bert")
    torch.testing.assert_close(logits(adaptation.model), logits(bare), atol=1e-5, rtol=0)


def test_a_copy_has_its_own_dispatchers() -> None:
    adaptation, inputs = randomised(), padded()
    before = logits(adaptation.model, inputs)
    copied = copy.deepcopy(adaptation.model)
    for value in adaptation.trainable.values():
        nn.init.zeros_(value)
    assert torch.equal(logits(copied, inputs), before)
