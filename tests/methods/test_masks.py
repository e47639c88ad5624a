"""The positions of sparse masks, against numpy and explicit gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.backbones.heads import HeadType
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation, Selection
from gluelamp.methods.fish import Fish
from gluelamp.methods.lt_sft import LtSft
from gluelamp.methods.pafi import PaFi
from gluelamp.methods.phases import Phase, adapt_untrained, run_phases
from gluelamp.methods.sparse_masks import grouped, lowest
from methods.cases import GetMethod, learn
from tiny_models import tiny

POOLER = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")


def values_from_states(model: PreTrainedModel, more: Sequence[str] = ()) -> dict[str, np.ndarray]:
    names = (*anatomy(model).encoder_parameters, *more)
    return {name: model.get_parameter(name).detach().numpy() for name in names}


def mask_of(positions: dict[str, torch.Tensor]) -> set[tuple[str, int]]:
    return {(n.removesuffix(".positions"), i) for n, where in positions.items() for i in where.tolist()}


def extreme(scores: dict[str, np.ndarray], count: int) -> set[tuple[str, int]]:
    """Return the places of the highest scores over all tensors."""
    places = [(name, i) for name, value in scores.items() for i in range(value.size)]
    flat = np.concatenate([value.ravel() for value in scores.values()])
    return {places[i] for i in np.argsort(-flat, kind="stable")[:count]}


@pytest.mark.parametrize("order", ["largest", "middle"])
def test_the_order_picks_what_it_says(order: str) -> None:
    model = tiny("bert")
    weights = values_from_states(model)
    adaptation = PaFi(density=0.1, order=order).adapt(model)
    count = round(0.1 * sum(value.size for value in weights.values()))
    magnitudes = {name: np.abs(value) for name, value in weights.items()}
    flat = np.sort(np.concatenate([value.ravel() for value in magnitudes.values()]))
    median = flat[(len(flat) - 1) // 2]
    scores = {
        "largest": magnitudes,
        "middle": {name: -np.abs(value - median) for name, value in magnitudes.items()},
    }
    assert mask_of(adaptation.shared_state()) == extreme(scores[order], count)


def test_a_random_mask_depends_on_its_seed_alone() -> None:
    def positions(seed: int) -> set[tuple[str, int]]:
        method = PaFi(density=0.1, order="random", mask_seed=seed)
        return mask_of(method.adapt(tiny("bert")).shared_state())

    assert positions(1) == positions(1)
    shared = len(positions(1) & positions(2)) / len(positions(1))
    assert 0.05 < shared < 0.15  # of two masks of a tenth, a tenth is common


def test_per_layer_gives_each_block_its_share() -> None:
    model = tiny("bert")
    sizes = {name: value.size for name, value in values_from_states(model).items()}
    adaptation = PaFi(density=0.1, scope="per_layer").adapt(model)
    chosen = mask_of(adaptation.shared_state())
    for layer in ("layer.0.", "layer.1.", "embeddings"):
        size = sum(count for name, count in sizes.items() if layer in name)
        assert abs(sum(layer in name for name, _ in chosen) - 0.1 * size) < 1
    assert len(chosen) == round(0.1 * sum(sizes.values()))


def test_names_are_grouped_by_scope() -> None:
    names = ["e.weight", "l.0.a", "l.0.b", "l.1.a"]
    assert grouped(names, "global") == [names]
    assert grouped(names, "per_layer") == [["e.weight"], ["l.0.a", "l.0.b"], ["l.1.a"]]
    assert grouped(names, "per_tensor") == [[name] for name in names]


def test_equal_scores_are_taken_in_order() -> None:
    chosen = lowest({"a": torch.tensor([1.0, 0.0, 1.0]), "b": torch.tensor([0.0, 1.0])}, 3)
    assert {name: where.tolist() for name, where in chosen.items()} == {"a": [0, 1], "b": [0]}


def choice_of(method: Fish | LtSft, model: PreTrainedModel) -> tuple[Selection, dict[str, np.ndarray]]:
    """Return the choice, and what the phase left, by tensor."""
    seen: dict[str, np.ndarray] = {}

    def remember(phase: Phase, adaptation: Adaptation) -> dict[str, torch.Tensor]:
        found = learn(phase, adaptation)
        seen.update({n.removesuffix(".values"): v.detach().numpy() for n, v in found.items()})
        return found

    return run_phases(method, model, remember), seen


@pytest.mark.parametrize(("head", "more"), [("two_layer", ()), ("linear", POOLER)])
def test_fish_takes_the_largest_scores(head: HeadType, more: Sequence[str]) -> None:
    model = tiny("bert", head)
    weights = values_from_states(model, more)
    selection, fisher = choice_of(Fish(density=0.1), model)
    count = round(0.1 * sum(value.size for value in values_from_states(model).values()))
    assert mask_of(dict(selection.tensors)) == extreme({name: fisher[name] for name in weights}, count)


@pytest.mark.parametrize(("head", "more"), [("two_layer", ()), ("linear", POOLER)])
def test_lt_sft_takes_what_moved_most(head: HeadType, more: Sequence[str]) -> None:
    model = tiny("bert", head)
    weights = values_from_states(model, more)
    selection, trained = choice_of(LtSft(density=0.1), model)
    moved = {name: np.abs(trained[name] - before) for name, before in weights.items()}
    count = round(0.1 * sum(value.size for value in values_from_states(model).values()))
    assert mask_of(dict(selection.tensors)) == extreme(moved, count)


@pytest.mark.parametrize("method_name", ["fish", "lt_sft", "diff_pruning"])
def test_a_frozen_pooler_is_a_candidate_of_the_task_specific_masks(
    method_name: str, method: GetMethod
) -> None:
    size = sum(value.size for value in values_from_states(tiny("bert")).values())
    # The steps of the test are large: faster gates would all be closed.
    slow = ("gate_learning_rate=1e-4",) if method_name == "diff_pruning" else ()

    def mask(head: HeadType, *options: str) -> set[tuple[str, int]]:
        spec, model = method(method_name, "density=0.1", *slow, *options), tiny("bert", head)
        return mask_of(dict(run_phases(spec, model, learn).tensors))

    with_pooler, without = mask("linear"), mask("linear", "pooler=false")
    assert {name for name, _ in with_pooler} & set(POOLER)
    assert not {name for name, _ in without} & set(POOLER)
    assert len(with_pooler) == len(without) == round(0.1 * size)  # the base of the budget is the encoder
    assert mask("two_layer") == mask("two_layer", "pooler=false")


def test_pafi_leaves_the_pooler_out() -> None:
    adaptation = PaFi(density=0.9).adapt(tiny("bert", "linear"))
    assert not {name for name, _ in mask_of(adaptation.shared_state())} & set(POOLER)


@pytest.mark.parametrize("method_name", ["fish", "lt_sft", "diff_pruning"])
def test_without_a_task_the_mask_lies_in_all_parts_of_the_encoder(
    method_name: str, method: GetMethod
) -> None:
    spec, model = method(method_name, "density=0.1"), tiny("bert")
    size = sum(value.size for value in values_from_states(model).values())
    chosen = mask_of(adapt_untrained(spec, model).selection)
    assert len(chosen) == round(0.1 * size)
    for part in ("embeddings", "layer.0.attention", "layer.1.output"):
        assert any(part in name for name, _ in chosen), part


@pytest.mark.parametrize("rewind_head", [True, False])
def test_lt_sft_starts_with_the_initial_head_or_with_that_of_its_phase(rewind_head: bool) -> None:
    model = tiny("bert")
    before = model.classifier.weight.detach().clone()
    method = LtSft(density=0.1, rewind_head=rewind_head)
    heads = []

    def remember(phase: Phase, adaptation: Adaptation) -> dict[str, torch.Tensor]:
        found = learn(phase, adaptation)
        heads.append(found["classifier.weight"])
        return found

    run_phases(method, model, remember)
    assert not torch.equal(heads[0], before)
    assert torch.equal(model.classifier.weight, before if rewind_head else heads[0])


def test_a_budget_that_the_head_needs_is_refused(method: GetMethod) -> None:
    with pytest.raises(InputError, match=r"minus [\d,]+ for the head"):
        adapt_untrained(method("fish", "density=0.001", "counts_head=true"), tiny("roberta"))


def test_a_task_of_another_mask_is_refused(method: GetMethod) -> None:
    spec = method("fish", "density=0.1")
    first = adapt_untrained(spec, tiny("bert"))
    moved = {name: (where + 1).clamp_max(31) for name, where in first.selection.items()}
    with pytest.raises(InputError, match="at other positions"):
        spec.adapt(tiny("bert"), Selection(moved)).load_task_state(first.task_state())
