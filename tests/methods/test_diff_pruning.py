"""Hard-concrete gates against their float64 formulas, and the three phases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gluelamp.backbones.anatomy import anatomy
from gluelamp.methods import diff_pruning
from gluelamp.methods.diff_pruning import (
    GatedDifference,
    expected_gate,
    open_probability,
    sampled_gate,
)
from gluelamp.methods.phases import run_phases
from methods.cases import GetMethod, learn
from tiny_models import tiny

LOGITS = torch.linspace(-6, 6, 25, dtype=torch.float64)


def gate(logit: float, uniform: float) -> float:
    """Guo et al., section 3.1: s, then stretched, then clamped."""
    s = 1 / (1 + math.exp(-(math.log(uniform) - math.log(1 - uniform) + logit)))
    return min(1.0, max(0.0, s * 3.0 - 1.5))


def test_a_random_gate_follows_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = torch.rand(25, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(diff_pruning.torch, "rand_like", lambda _: uniform.clone())
    expected = [gate(a, u) for a, u in zip(LOGITS.tolist(), uniform.tolist(), strict=True)]
    np.testing.assert_allclose(sampled_gate(LOGITS).numpy(), expected, atol=1e-12)


def test_the_gate_without_noise_is_the_one_at_one_half() -> None:
    expected = [gate(a, 0.5) for a in LOGITS.tolist()]
    np.testing.assert_allclose(expected_gate(LOGITS).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 2.0])
def test_the_open_probability_is_the_fraction_of_random_gates_above_zero(logit: float) -> None:
    samples = 200_000
    with torch.random.fork_rng():
        torch.manual_seed(0)
        opened = (sampled_gate(torch.full((samples,), logit)) > 0).double().mean().item()
    chance = open_probability(torch.tensor(logit, dtype=torch.float64)).item()
    assert chance == pytest.approx(1 / (1 + math.exp(-(logit - math.log(1.5 / 1.5)))))
    assert opened == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / samples))


def test_the_tensors_gate_multiplies_its_entries() -> None:
    rule = GatedDifference(torch.zeros(3), structured=True, first_logit=0.0, gate_rate=2.0).eval()
    with torch.no_grad():
        rule.difference.copy_(torch.tensor([1.0, 2.0, 4.0]))
        rule.entries.copy_(torch.tensor([0.0, 0.1, 0.2]))
        rule.group.fill_(0.05)
    expected = [w * gate(2 * a, 0.5) * gate(0.1, 0.5) for w, a in ((1, 0.0), (2, 0.1), (4, 0.2))]
    np.testing.assert_allclose(rule(torch.zeros(3)).detach().numpy(), expected, atol=1e-6)
    chances = [1 / (1 + math.exp(-logit)) for logit in (0.0, 0.2, 0.4, 0.1)]  # the tensor's counts as one
    assert rule.expected_open().item() == pytest.approx(sum(chances), abs=1e-5)


def test_the_penalty_is_added_to_the_tasks_loss(method: GetMethod) -> None:
    phase = method("diff_pruning", "penalty=0.5").phases()[0].method
    adaptation = phase.adapt(tiny("bert"))
    opened = sum(change.parametrization.expected_open() for change in adaptation.changes)
    outputs = torch.zeros(2, 3)
    total = adaptation.objective(lambda: outputs, lambda _: torch.tensor(7.0))
    assert total.item() == pytest.approx(7 + 0.5 * opened.item(), rel=1e-5)


def test_training_begins_with_the_largest_differences(method: GetMethod) -> None:
    spec, model = method("diff_pruning", "density=0.2", "gate_learning_rate=1e-4"), tiny("bert")
    found = {}
    selection = run_phases(spec, model, lambda p, a: found.update(learn(p, a)) or found)
    adaptation = spec.adapt(model, selection=selection)
    remaining = torch.cat([value.detach().abs() for value in adaptation.trainable.values()])
    every = torch.cat([v.detach().abs().flatten() for n, v in found.items() if n.endswith(".values")])
    torch.testing.assert_close(remaining.sort().values, every.sort().values[-len(remaining) :])


def test_only_the_methods_own_differences_count_as_open(
    method: GetMethod, caplog: pytest.LogCaptureFixture
) -> None:
    spec, model = method("diff_pruning", "density=0.2"), tiny("bert")
    found = spec.phases()[0].method.adapt(tiny("bert")).task_state()
    spec.selection_from_phases(model, anatomy(model), [found])
    assert not caplog.messages  # nothing was trained: all differences are zero, though the head is not
    first = next(name for name in found if name.endswith(".values"))
    found[first] = (torch.arange(found[first].numel()) < 7).view_as(found[first]).float()
    spec.selection_from_phases(model, anatomy(model), [found])
    assert "closed all but 7 of the" in caplog.text
