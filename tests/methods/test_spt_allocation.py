"""SPT's allocation against the authors' search written out: a mask and a cost for every tau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional

from gluelamp.backbones.anatomy import anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation, Selection
from gluelamp.methods.phases import Phase, ScoringPhase, TrainingPhase, run_phases
from gluelamp.methods.spt import Spt
from gluelamp.methods.spt_allocation import Structure, allocate
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.phase_runner import squared_gradients
from methods.cases import learn
from tiny_models import OUTPUTS, batch, tiny

Places = dict[str, set[int] | None]
"""By name of a trained tensor: its trained entries, or None for its structure."""


@dataclass
class Tensor:
    """A scored tensor: with ``enough`` marks it costs ``cost``."""

    scores: np.ndarray
    enough: float
    cost: int


def every_tau(tensors: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the cost of each tau from 1, the ranked entries' tensors, and their positions."""
    scores = np.concatenate([t.scores.ravel() for t in tensors.values()]).astype(np.float64)
    owners = np.concatenate([np.full(t.scores.size, i) for i, t in enumerate(tensors.values())])
    positions = np.concatenate([np.arange(t.scores.size) for t in tensors.values()])
    ranking = np.argsort(-scores, kind="stable")
    enough = np.array([t.enough for t in tensors.values()])
    cost = np.array([t.cost for t in tensors.values()])
    marks, costs = np.zeros(len(tensors), dtype=int), []
    for owner in owners[ranking]:
        marks[owner] += 1
        costs.append(np.where(marks >= enough, cost, marks).sum())
    return np.array(costs), owners[ranking], positions[ranking]


def by_hand(tensors: dict[str, Tensor], budget: int) -> tuple[Places, int]:
    """Return the places and the cost of the last tau that comes closest to the budget."""
    costs, owners, positions = every_tau(tensors)
    closest, distance = 0, budget
    for tau, cost in enumerate(costs, start=1):
        if abs(cost - budget) <= distance:
            closest, distance = tau, abs(cost - budget)
    places: Places = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        marked = set(positions[:closest][owners[:closest] == number].tolist())
        if marked:
            places[name] = None if len(marked) >= tensor.enough else marked
    return places, int(costs[closest - 1])


def places_of(chosen: dict[str, torch.Tensor]) -> Places:
    return {
        name.removesuffix(".positions"): set(where.tolist()) if len(where) else None
        for name, where in chosen.items()
    }


def randomised(seed: int, values: int) -> dict[str, Tensor]:
    """Return matrices and vectors with few or many equal scores, some of them dense, some hardly touched."""
    rng = np.random.default_rng(seed)
    sizes = {"a": (48, 20), "b": (60, 25), "c": (10, 10), "d": (7, 7), "e": (30, 45), "f": (12, 12)}
    return {
        name: Tensor(
            rng.integers(0, values, size) * rng.choice([1, 3]), cost / rng.choice([1, 2.5, 10]), cost
        )
        for name, (size, cost) in sizes.items()
    }


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("values", [5, 10_000])
def test_of_all_taus_the_closest_to_the_budget_is_taken(seed: int, values: int) -> None:
    tensors = randomised(seed, values)
    scores = {name: torch.from_numpy(tensor.scores) for name, tensor in tensors.items()}
    structures = {n: Structure(int(np.ceil(tensor.enough)), tensor.cost) for n, tensor in tensors.items()}
    for budget in range(1, every_tau(tensors)[0].max() + 1):
        chosen = allocate(scores, structures, budget)
        assert places_of(chosen) == by_hand(tensors, budget)[0]
        assert all(where.equal(where.sort().values) for where in chosen.values())


def test_of_two_costs_equally_close_the_larger_is_taken() -> None:
    chosen = allocate({"a": torch.tensor([3.0, 1.0, 2.0, 0.0, 0.0])}, {"a": Structure(2, 5)}, 3)
    assert places_of(chosen) == {"a": None}  # one entry costs 1, structure 5


def test_more_than_structure_everywhere_costs_is_refused() -> None:
    scores = {"a": torch.rand(40), "b": torch.rand(6)}
    structures = {"a": Structure(2, 9), "b": Structure(9, 9)}
    assert places_of(allocate(scores, structures, 15)) == {"a": None, "b": set(range(6))}
    with pytest.raises(InputError, match=r"asks for 16 trained values, but .* no more than 15"):
        allocate(scores, structures, 16)


def spt(structure: str, **fields: object) -> Spt:
    return Spt(structure=structure, **{"rank": 2, "density": 0.1, **fields})


def choice_of(method: Spt, architecture: str = "bert") -> tuple[Selection, dict[str, torch.Tensor]]:
    """Return a choice from the tester's gradients, and these."""
    seen: dict[str, torch.Tensor] = {}

    def remember(phase: Phase, adaptation: Adaptation) -> dict[str, torch.Tensor]:
        seen.update(learn(phase, adaptation))
        return seen

    return run_phases(method, tiny(architecture), remember), seen


def scored(architecture: str, seen: dict[str, torch.Tensor], structure: str) -> dict[str, Tensor]:
    """Return the candidate tensors, with the thresholds and costs of rank 2."""
    model = tiny(architecture)
    embeddings = anatomy(model).embeddings.path
    tensors = {}
    for name in anatomy(model).encoder_parameters:
        shape = tuple(model.get_parameter(name).shape)
        if name.startswith(embeddings) or "rel_" in name:
            continue
        if len(shape) == 1:
            enough, cost = shape[0] / 5, shape[0]
        else:
            cost = 2 * sum(shape) if structure == "lora" else 2 * shape[0] * 2 + 2 + shape[0]
            enough = cost / 10
        tensors[name] = Tensor(seen[f"{name}.values"].numpy(), enough, cost)
    return tensors


@pytest.mark.parametrize("structure", ["lora", "adapter"])
@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_a_model_is_trained_where_its_gradients_are_largest(structure: str, architecture: str) -> None:
    method = spt(structure)
    selection, seen = choice_of(method, architecture)
    adaptation = method.adapt(tiny(architecture), selection=selection)
    budget = round(0.1 * adaptation.encoder_size)
    places, cost = by_hand(scored(architecture, seen, structure), budget)
    assert places_of(dict(selection.tensors)) == places
    assert sum(value.numel() for value in adaptation.trainable.values()) == cost
    values = "down.weight up.weight" if structure == "lora" else "down.weight down.bias up.weight up.bias"
    names = set()
    for name, where in places.items():
        if where is not None:
            names.add(f"{name}.delta")
        elif seen[f"{name}.values"].dim() == 1:
            names.add(f"{name}.values")
        else:
            names |= {f"{name.removesuffix('weight')}adapter.{value}" for value in values.split()}
    assert set(adaptation.trainable) == names
    kinds = {name.rpartition(".")[2] for name in names}
    assert {"delta", "values", "weight"} <= kinds  # the budget is small enough for a mixture


@pytest.mark.parametrize("structure", ["lora", "adapter"])
@pytest.mark.parametrize("density", [0.03, 0.1])
def test_no_step_of_the_authors_search_comes_closer(structure: str, density: float) -> None:
    method = spt(structure, density=density)
    selection, seen = choice_of(method)
    adaptation = method.adapt(tiny("bert"), selection=selection)
    budget = round(density * adaptation.encoder_size)
    ours = abs(sum(value.numel() for value in adaptation.trainable.values()) - budget)
    tensors = scored("bert", seen, structure)
    steps = np.arange(budget // 20, 4 * budget, budget // 20)  # as 0.02 M to 1.58 M for 0.4 M
    theirs = np.abs(every_tau(tensors)[0][steps - 1] - budget).min()
    assert ours <= theirs
    assert ours <= max(tensor.cost for tensor in tensors.values()) / 2


def test_sensitivity_is_the_square_of_a_batchs_mean_gradient_summed_over_batches() -> None:
    (phase,) = spt("lora", examples=6, batch_size=3).phases()
    inputs = batch(rows=6)
    labels = torch.arange(6) % OUTPUTS
    split = EncodedSplit(
        tokens=inputs["input_ids"].flatten().numpy().astype(np.int32),
        segments=None,
        offsets=np.arange(0, 55, 9),
        labels=labels.numpy(),
        idx=np.arange(6),
        pad_token=0,
    )
    scoring = phase.method.adapt(tiny("bert"))
    ours = squared_gradients(phase, scoring, known_task("mnli"), split, seed=4)

    model, order = tiny("bert").double(), np.random.default_rng(4).permutation(6)
    total = {name: 0.0 for name, _ in model.named_parameters()}
    for rows in (order[:3], order[3:]):
        model.zero_grad()
        outputs = model(input_ids=inputs["input_ids"][rows]).logits
        functional.cross_entropy(outputs, labels[rows]).backward()
        for name, value in model.named_parameters():
            total[name] += value.grad.square()
    assert len(ours) == 2 * 16
    for name, sensitivity in ours.items():
        expected = total[name.removesuffix(".values")]
        torch.testing.assert_close(sensitivity.double(), expected, rtol=2e-3, atol=1e-9)


def test_the_head_is_warmed_up_before_scoring_if_asked_for() -> None:
    (scoring,) = Spt().phases()
    assert isinstance(scoring, ScoringPhase)
    assert (scoring.examples, scoring.batch_size, scoring.labels) == (512, 32, "observed")
    head, second = spt("lora", head_warmup_epochs=2).phases()
    assert isinstance(head, TrainingPhase)
    assert isinstance(second, ScoringPhase)
    assert (head.epochs, head.learning_rate) == (2, None)
    assert not head.method.adapt(tiny("bert")).trainable
