"""DyT against its formulas in float64: who is active, the two ways to compute a block, and the loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax
from torch import Tensor, nn
from torch.nn import functional

from gluelamp.methods.activations.dyt import DispatchedNetwork, Dispatcher, DyT
from gluelamp.methods.adaptation import Adaptation
from gluelamp.training.precision import MasterWeights
from gluelamp.training.trainer import set_dropout
from methods.cases import labels, logits_of
from tiny_models import FFN, HIDDEN, LAYERS, batch, logits, tiny

Batch = dict[str, Tensor]
ARCHITECTURES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "mpnet")


def dyt(**fields: object) -> DyT:
    return DyT(name="dyt", learning_rate=1e-3, **{"bottleneck": 5, **fields})


def drawn(architecture: str = "bert", **fields: object) -> Adaptation:
    """Return an adaptation in float64 and without dropout whose dispatchers split the tokens."""
    adaptation = dyt(**fields).adapt(tiny(architecture))
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = torch.randn(value.shape, generator=generator) / 2
    set_dropout(adaptation.model.double().eval(), 0.0)
    return adaptation


def networks(adaptation: Adaptation) -> list[DispatchedNetwork]:
    return [m for m in adaptation.model.modules() if isinstance(m, DispatchedNetwork)]


def padded() -> Batch:
    """Return rows of which some end in padding."""
    inputs = batch()
    for row, length in enumerate((9, 7, 5, 2)):
        inputs["attention_mask"][row, length:] = 0
    return inputs


def watch_masks(adaptation: Adaptation) -> list[Tensor]:
    """Return a list that takes each dispatcher's mask in each pass."""
    masks: list[Tensor] = []
    for network in networks(adaptation):
        network.dispatcher.register_forward_hook(lambda _, __, mask: masks.append(mask.detach()))
    return masks


def share(masks: Sequence[Tensor], real: Tensor) -> float:
    """Return the part of the real tokens but the first that is active."""
    counted = real[:, 1:].numpy().astype(bool)
    return float(np.mean([mask.numpy()[:, 1:][counted].mean() for mask in masks]))


def test_a_block_is_the_formula() -> None:
    bare = tiny("bert").double()
    adaptation = drawn(scale=0.3)
    bare_layer, layer = bare.bert.encoder.layer[0], adaptation.model.bert.encoder.layer[0]
    (network, *_) = networks(adaptation)
    x = torch.randn(2, 7, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        u = bare_layer.attention(x)[0]
        m = bare_layer.output.dense(bare_layer.intermediate(u))
        active = u @ network.dispatcher.score.weight[0] + network.dispatcher.score.bias > 0
        active[:, 0] = True
        down, up = network.adapter.down, network.adapter.up
        beside = torch.relu(u @ down.weight.T + down.bias) @ up.weight.T + up.bias
        expected = bare_layer.output.LayerNorm(active.unsqueeze(-1) * m + 0.3 * beside + u)
        output = layer(x)
    assert 0.2 < active[:, 1:].double().mean() < 0.8
    hidden = output if isinstance(output, Tensor) else output[0]
    torch.testing.assert_close(hidden, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_computing_the_active_tokens_alone_gives_what_masking_gives(architecture: str) -> None:
    adaptation, inputs = drawn(architecture), padded()
    compact = logits(adaptation.model, inputs)
    for network in networks(adaptation):
        network.training = True  # masks the output, as in training; the dispatcher still draws nothing
    with torch.no_grad():
        masked = adaptation.model(**inputs).logits
    assert not torch.equal(compact, logits(tiny(architecture).double(), inputs))
    torch.testing.assert_close(compact, masked, atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_in_evaluation_the_network_computes_no_other_token(architecture: str) -> None:
    adaptation = drawn(architecture)
    masks, computed = watch_masks(adaptation), []
    for module in adaptation.model.modules():
        if isinstance(module, nn.Linear) and module.out_features == FFN:
            module.register_forward_hook(lambda _, __, output: computed.append(output.shape))
    logits(adaptation.model, padded())
    assert computed == [(int(mask.sum()), FFN) for mask in masks]
    assert len(masks) == LAYERS


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("by_name", [True, False])
def test_the_first_token_is_always_active_and_padding_never(training: bool, by_name: bool) -> None:
    adaptation, inputs = drawn(), padded()
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
    shares = [share(masks[i : i + LAYERS], real) for i in (0, LAYERS, len(masks) - LAYERS)]
    assert shares[0] < shares[1] < shares[2]


def test_without_a_mask_every_token_is_real() -> None:
    adaptation, inputs = drawn(), batch()
    expected = logits(adaptation.model, inputs)
    logits(adaptation.model, padded())
    assert torch.equal(logits(adaptation.model, {"input_ids": inputs["input_ids"]}), expected)


def test_the_drawn_mask_is_a_gumbel_sigmoid_with_the_gradient_of_its_soft_form() -> None:
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


@pytest.mark.parametrize("regression", [False, True])
def test_the_loss_is_the_formula_over_both_passes(regression: bool) -> None:
    weights = {"complete_weight": 0.5, "distillation_weight": 0.7, "rate_weight": 3.0, "target_rate": 0.9}
    adaptation, inputs = drawn(**weights), padded()
    masks, seen = watch_masks(adaptation), []
    torch.manual_seed(0)
    adaptation.model.train()

    def forward() -> Tensor:
        outputs = logits_of(adaptation.model, inputs)
        seen.append(outputs[:, :1] if regression else outputs)
        return seen[-1]

    def task(outputs: Tensor) -> Tensor:
        return outputs.square().mean() if regression else functional.cross_entropy(outputs, labels())

    loss = adaptation.objective(forward, task).item()
    drawn_pass, complete = (outputs.detach() for outputs in seen)
    rate = share(masks, inputs["attention_mask"])
    if regression:
        distance = ((drawn_pass - complete) ** 2).mean().item()
    else:
        first, second = (log_softmax(outputs.numpy(), axis=1) for outputs in (complete, drawn_pass))
        distance = (softmax(complete.numpy(), axis=1) * (first - second)).sum(1).mean()
    by_hand = task(drawn_pass) + 0.5 * task(complete) + 0.7 * distance + 3 * (rate - 0.9) ** 2
    assert loss == pytest.approx(by_hand.item(), abs=1e-7)  # the mask of the batch is divided in fp32
    assert len(masks) == LAYERS  # the complete pass asks no dispatcher
    assert 0 < rate < 1


def test_the_complete_pass_has_every_token_active() -> None:
    adaptation, inputs = drawn(), padded()
    seen: list[Tensor] = []

    def forward() -> Tensor:
        seen.append(logits_of(adaptation.model, inputs))
        return seen[-1]

    adaptation.model.train()
    adaptation.objective(forward, lambda outputs: outputs.mean())
    for network in networks(adaptation):
        nn.init.constant_(network.dispatcher.score.bias, 100.0)
    torch.testing.assert_close(seen[1], logits(adaptation.model, inputs), atol=1e-12, rtol=0)


@pytest.mark.parametrize("outputs", [1, 3])
def test_distillation_sends_no_gradient_to_the_complete_pass(outputs: int) -> None:
    adaptation = drawn()
    adaptation.model.train()
    leaves = [torch.randn(8, outputs, requires_grad=True) for _ in range(2)]
    left = list(leaves)

    def forward() -> Tensor:
        logits_of(adaptation.model, batch())
        return left.pop(0)

    loss = adaptation.objective(forward, lambda found: 0.0 * found.sum())
    dynamic, complete = torch.autograd.grad(loss, leaves)
    assert dynamic.any()
    assert not complete.any()


def test_without_the_complete_losses_there_is_one_pass() -> None:
    adaptation = drawn(complete_weight=0.0, distillation_weight=0.0, rate_weight=0.0)
    adaptation.model.train()
    passes: list[Tensor] = []

    def forward() -> Tensor:
        passes.append(logits_of(adaptation.model, batch()))
        return passes[-1]

    loss = adaptation.objective(forward, lambda outputs: outputs.mean())
    assert len(passes) == 1
    assert torch.equal(loss, passes[0].mean())


def test_a_failing_pass_leaves_the_dispatchers_at_work() -> None:
    adaptation = drawn()
    adaptation.model.train()
    outputs = iter([logits_of(adaptation.model, batch())])
    with pytest.raises(StopIteration):
        adaptation.objective(lambda: next(outputs), lambda found: found.mean())
    assert not any(network.complete for network in networks(adaptation))


def test_training_moves_the_rate_to_its_target() -> None:
    adaptation = dyt(target_rate=0.2, rate_weight=20.0).adapt(tiny("bert"))
    optimizer = torch.optim.Adam(adaptation.trainable.values(), lr=0.03)
    masks, inputs = watch_masks(adaptation), padded()
    torch.manual_seed(0)
    adaptation.model.train()
    for _ in range(80):
        optimizer.zero_grad()
        adaptation.objective(
            lambda: logits_of(adaptation.model, inputs),
            lambda outputs: functional.cross_entropy(outputs, labels()),
        ).backward()
        optimizer.step()
    assert share(masks[:LAYERS], inputs["attention_mask"]) == pytest.approx(0.5, abs=0.15)
    assert share(masks[-20 * LAYERS :], inputs["attention_mask"]) == pytest.approx(0.2, abs=0.05)


def test_the_start_is_the_backbone_but_for_the_tokens_that_skip() -> None:
    adaptation = dyt().adapt(tiny("bert"))
    for network in networks(adaptation):
        assert network.dispatcher.score.weight.std().item() == pytest.approx(0.02, rel=0.5)
        assert not network.dispatcher.score.bias.any()
        nn.init.constant_(network.dispatcher.score.bias, 100.0)
    bare = tiny("bert")
    torch.testing.assert_close(logits(adaptation.model), logits(bare), atol=1e-5, rtol=0)


def test_bf16_passes_choose_in_fp32_and_train() -> None:
    adaptation = dyt().adapt(tiny("bert"))
    MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    masks = watch_masks(adaptation)
    logits(adaptation.model, padded())
    adaptation.model.train()

    def forward() -> Tensor:
        return adaptation.model(**padded()).logits.float()

    adaptation.objective(forward, partial(functional.cross_entropy, target=labels())).backward()
    assert {mask.dtype for mask in masks} == {torch.float32}
    assert all(value.grad is not None for value in adaptation.trainable.values())


def test_a_copy_has_its_own_dispatchers() -> None:
    adaptation, inputs = drawn(), padded()
    before = logits(adaptation.model, inputs)
    copied = copy.deepcopy(adaptation.model)
    for value in adaptation.trainable.values():
        nn.init.zeros_(value)
    assert torch.equal(logits(copied, inputs), before)
