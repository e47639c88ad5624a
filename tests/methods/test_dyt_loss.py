"""The loss of DyT, over a pass with randomised masks and one with every token, against its formula."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor, nn
from torch.nn import functional

from gluelamp.errors import InputError
from gluelamp.training.precision import MasterWeights
from methods.cases import labels, logits_of
from methods.dispatched import active_fraction, dyt, networks, padded, randomised, watch_masks
from tiny_models import LAYERS, batch, logits, tiny


@pytest.mark.parametrize("distillation", ["kl", "mse"])
def test_the_loss_is_the_formula_over_both_passes(distillation: str) -> None:
    weights = {"complete_weight": 0.5, "distillation_weight": 0.7, "rate_weight": 3.0, "target_rate": 0.9}
    adaptation, inputs = randomised(distillation=distillation, **weights), padded()
    masks, seen = watch_masks(adaptation), []
    torch.manual_seed(0)
    adaptation.model.train()

    def forward() -> Tensor:
        seen.append(logits_of(adaptation.model, inputs))
        return seen[-1]

    task = partial(functional.cross_entropy, target=labels())
    loss = adaptation.objective(forward, task).item()
    drawn_pass, complete = (outputs.detach() for outputs in seen)
    rate = active_fraction(masks, inputs["attention_mask"])
    if distillation == "mse":
        distance = ((drawn_pass - complete) ** 2).mean().item()
    else:
        first, second = (log_softmax(outputs.numpy(), axis=1) for outputs in (complete, drawn_pass))
        distance = (softmax(complete.numpy(), axis=1) * (first - second)).sum(1).mean()
    by_hand = task(drawn_pass) + 0.5 * task(complete) + 0.7 * distance + 3 * (rate - 0.9) ** 2
    assert loss == pytest.approx(by_hand.item(), abs=1e-12)
    assert len(masks) == LAYERS  # the complete pass asks no dispatcher
    assert 0 < rate < 1


def test_the_complete_pass_has_every_token_active() -> None:
    adaptation, inputs = randomised(), padded()
    seen: list[Tensor] = []

    def forward() -> Tensor:
        seen.append(logits_of(adaptation.model, inputs))
        return seen[-1]

    adaptation.model.train()
    adaptation.objective(forward, lambda outputs: outputs.mean())
    for network in networks(adaptation):
        nn.init.constant_(network.dispatcher.score.bias, 100.0)
    torch.testing.assert_close(seen[1], logits(adaptation.model, inputs), atol=1e-12, rtol=0)


@pytest.mark.parametrize("distillation", ["kl", "mse"])
def test_distillation_sends_no_gradient_to_the_complete_pass(distillation: str) -> None:
    adaptation = randomised(distillation=distillation)
    adaptation.model.train()
    leaves = [torch.randn(8, 3, requires_grad=True) for _ in range(2)]
    left = list(leaves)

    def forward() -> Tensor:
        logits_of(adaptation.model, batch())
        return left.pop(0)

    loss = adaptation.objective(forward, lambda found: 0.0 * found.sum())
    dynamic, complete = torch.autograd.grad(loss, leaves)
    assert dynamic.any()
    assert not complete.any()


def test_the_divergence_needs_classes() -> None:
    with pytest.raises(InputError, match=r"method\.distillation=kl .* regression"):
        dyt().check_task("regression")
    dyt().check_task("classification")
    dyt(distillation="mse").check_task("regression")
    dyt(distillation_weight=0.0).check_task("regression")


def test_without_the_complete_losses_there_is_one_pass() -> None:
    adaptation = randomised(complete_weight=0.0, distillation_weight=0.0, rate_weight=0.0)
    adaptation.model.train()
    passes: list[Tensor] = []

    def forward() -> Tensor:
        passes.append(logits_of(adaptation.model, batch()))
        return passes[-1]

    loss = adaptation.objective(forward, lambda outputs: outputs.mean())
    assert len(passes) == 1
    assert torch.equal(loss, passes[0].mean())


def test_a_failing_pass_resets_the_dispatchers() -> None:
    adaptation = randomised()
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
    assert active_fraction(masks[:LAYERS], inputs["attention_mask"]) == pytest.approx(0.5, abs=0.15)
    assert active_fraction(masks[-20 * LAYERS :], inputs["attention_mask"]) == pytest.approx(0.2, abs=0.05)


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
