"""AdaMix against its formulas in float64: routing, the average that is stored, and consistency."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import erf, log_softmax, softmax
from torch import Tensor
from torch.nn import functional

from gluelamp.backbones.dropout import set_dropout
from gluelamp.errors import InputError
from gluelamp.methods.adamix import AdaMix, Mixture
from gluelamp.methods.base import Adaptation
from gluelamp.methods.storage import count_bytes
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt, train
from tiny_models import HIDDEN, LAYERS, batch, logits, tiny

Array = np.ndarray
PARTS = ("down.weight", "down.bias", "up.weight", "up.bias")


def adamix(**fields: object) -> AdaMix:
    return AdaMix(**{"bottleneck": 6, "init_std": 0.5, **fields})


def update(hidden: Array, values: list[Array]) -> Array:
    """Return up(GELU(down(h))) of one expert."""
    down, down_bias, up, up_bias = values
    inner = hidden @ down.T + down_bias
    return inner * (1 + erf(inner / np.sqrt(2))) / 2 @ up.T + up_bias


def with_biases(adaptation: Adaptation) -> Adaptation:
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 2
    return adaptation


def mixtures(adaptation: Adaptation) -> list[Mixture]:
    return [m for m in adaptation.model.modules() if isinstance(m, Mixture)]


def without_dropout(adaptation: Adaptation) -> Adaptation:
    set_dropout(adaptation.model, 0.0)
    return adaptation


@pytest.mark.parametrize("share_up", [True, False])
def test_in_evaluation_the_experts_are_one_averaged_adapter(share_up: bool) -> None:
    bare = tiny("bert").double()
    adaptation = with_biases(adamix(experts=3, share_up=share_up).adapt(copy.deepcopy(bare)))
    for layer, mixture in zip(bare.bert.encoder.layer, mixtures(adaptation), strict=True):
        mean = [mixture.get_parameter(part).detach().numpy().mean(axis=0) for part in PARTS]
        # within the output, before its dropout, its residual sum and its LayerNorm
        layer.output.dense.register_forward_hook(
            lambda _, __, output, mean=mean: output + torch.from_numpy(update(output.numpy(), mean))
        )
    torch.testing.assert_close(logits(adaptation.model), logits(bare), atol=1e-12, rtol=0)


@pytest.mark.parametrize("share_up", [True, False])
def test_a_training_pass_uses_one_pair_of_experts_for_the_whole_batch(share_up: bool) -> None:
    torch.manual_seed(0)
    mixture = Mixture(adamix(experts=3, share_up=share_up), 5).double().train()
    hidden = torch.randn(2, 4, 5, dtype=torch.float64)
    down, down_bias, up, up_bias = (mixture.get_parameter(part).detach().numpy() for part in PARTS)
    by_pair = {
        (i, j): update(hidden.numpy(), [down[i], down_bias[i], up[j], up_bias[j]])
        for i in range(3)
        for j in range(1 if share_up else 3)
    }
    randomised = [
        [pair for pair, expected in by_pair.items() if np.allclose(output, expected, rtol=0, atol=1e-12)]
        for output in (mixture(hidden).detach().numpy() for _ in range(100))
    ]
    assert all(len(pairs) == 1 for pairs in randomised)
    assert {pairs[0] for pairs in randomised} == set(by_pair)


def test_layers_sample_independently_and_from_the_seed() -> None:
    adaptation = adamix(experts=2).adapt(tiny("bert"))
    adaptation.model.train()

    def routes(seed: int) -> list[tuple[bool, ...]]:
        torch.manual_seed(seed)
        experts = [m.down for m in mixtures(adaptation)]
        return [tuple(torch.equal(e()[0], e.weight[0]) for e in experts) for _ in range(30)]

    assert len(set(routes(0))) == 2**LAYERS
    assert routes(0) == routes(0)
    assert routes(0) != routes(1)


def test_passes_differ_by_routing_alone_in_training_and_not_in_evaluation() -> None:
    adaptation = without_dropout(adamix().adapt(tiny("bert")))
    torch.manual_seed(0)
    adaptation.model.train()
    first, second = (adaptation.model(**batch()).logits for _ in range(2))
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.equal(logits(adaptation.model), logits(adaptation.model))


def recorded(outputs: list[Tensor]) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Return a forward that hands out some outputs, and the list of those not yet taken."""
    left = list(outputs)
    return lambda: left.pop(0), left


@pytest.fixture
def passes() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)]


def test_the_divergence_is_the_formula_and_sends_no_gradient_to_a_target(passes: list[Tensor]) -> None:
    first, second = (logits.detach().numpy() for logits in passes)
    p1, p2 = softmax(first, axis=1), softmax(second, axis=1)
    log_ratio = log_softmax(second, axis=1) - log_softmax(first, axis=1)
    by_hand = ((p2 * log_ratio).sum(1).mean() - (p1 * log_ratio).sum(1).mean()) / 2
    loss = adamix().loss([], recorded(passes)[0], lambda _: torch.tensor(0.0))
    assert loss.item() == pytest.approx(by_hand, abs=1e-14)
    gradients = torch.autograd.grad(loss, passes)
    # The gradient of KL(p || softmax(z)) is softmax(z) - p, for each row of the mean.
    for gradient, expected in zip(gradients, ((p1 - p2) / 12, (p2 - p1) / 12), strict=True):
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-15)


def test_the_labels_enter_the_loss_of_the_first_pass_alone(passes: list[Tensor]) -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    task = functional.cross_entropy(passes[0], labels).item()
    consistency = {"none": 0.0, "mse": ((passes[0] - passes[1]) ** 2).mean().item()}
    for kind, expected in consistency.items():
        forward, left = recorded(passes)
        loss = adamix(consistency=kind).loss([], forward, lambda y: functional.cross_entropy(y, labels))
        assert loss.item() == pytest.approx(task + expected, abs=1e-14)
        assert len(left) == (kind == "none")


def test_the_divergence_needs_classes() -> None:
    with pytest.raises(InputError, match=r"method\.consistency=kl .* regression"):
        adamix().check_task("regression")
    adamix().check_task("classification")
    adamix(consistency="mse").check_task("regression")


@pytest.mark.parametrize("experts", [1, 3, 4])
def test_a_task_stores_the_average_which_takes_the_place_of_every_expert(experts: int) -> None:
    method = adamix(experts=experts)
    source = adapt(method, tiny("bert"), seed=0)
    train(source, steps=3)
    state = source.task_state()
    assert count_bytes(source)["method"] == 4 * LAYERS * (2 * HIDDEN * 6 + 6 + HIDDEN)
    target = without_dropout(adapt(method, tiny("bert"), seed=1, state=state))
    for name, value in target.trainable.items():
        assert all(torch.equal(expert, state[name]) for expert in value)
    target.model.train()
    outputs = target.model(**batch()).logits
    torch.testing.assert_close(outputs, logits(source.model), atol=1e-5, rtol=0)


def test_a_stored_average_gives_the_bf16_outputs_of_its_experts() -> None:
    source = adapt(adamix(experts=3), tiny("bert"), seed=0)
    state = {name: value.clone() for name, value in source.task_state().items()}
    target = adapt(adamix(experts=3), tiny("bert"), seed=1, state=state)
    for adaptation in (source, target):
        MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    assert torch.equal(logits(source.model), logits(target.model))
