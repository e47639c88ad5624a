"""PaFi against numpy's ranking, a dense delta and bit patterns."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.errors import InputError
from gluelamp.methods.changes.sparse import SparseDelta
from gluelamp.methods.pafi import PaFi
from gluelamp.methods.storage import count_bytes, load_task_state, provenance, save_task_state
from methods.cases import snapshot
from tiny_models import batch, logits, same_bits, tiny


def pafi(density: float = 0.02, **fields: object) -> PaFi:
    return PaFi(density=density, **fields)


def with_ties(model: PreTrainedModel) -> PreTrainedModel:
    """Round to one decimal: a seventh of the entries are then zero, and every magnitude is shared."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.mul(10).round() / 10)
    return model


def encoder(model: PreTrainedModel) -> dict[str, np.ndarray]:
    return {name: model.get_parameter(name).detach().numpy() for name in anatomy(model).encoder_parameters}


def first_smallest(values: np.ndarray, count: int) -> list[int]:
    """Return the positions of the smallest magnitudes, equal ones by position."""
    return np.argsort(np.abs(values), kind="stable")[:count].tolist()


def expected_mask(model: PreTrainedModel, method: PaFi) -> set[tuple[str, int]]:
    whole = encoder(model)
    budget = round(method.density * sum(value.size for value in whole.values()))
    tensors = {
        name: whole[name].ravel()
        for name in sorted(whole)
        if not (method.exclude and re.search(method.exclude, name))
    }
    if method.scope == "per_tensor":
        ends = np.cumsum([value.size for value in tensors.values()])
        counts = np.diff([budget * int(end) // int(ends[-1]) for end in (0, *ends)])
        return {
            (name, position)
            for (name, value), count in zip(tensors.items(), counts, strict=True)
            for position in first_smallest(value, count)
        }
    places = [(name, position) for name, value in tensors.items() for position in range(value.size)]
    return {places[i] for i in first_smallest(np.concatenate([*tensors.values()]), budget)}


@pytest.mark.parametrize(
    "method",
    [
        pafi(),
        pafi(density=0.3),
        pafi(scope="per_tensor"),
        pafi(exclude="embeddings"),
        pafi(density=1.0),
    ],
    ids=["global", "thirty-percent", "per-tensor", "without-embeddings", "everything"],
)
@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
def test_the_mask_is_the_smallest_magnitudes_with_ties_by_position(method: PaFi, ties: bool) -> None:
    model = with_ties(tiny("bert")) if ties else tiny("bert")
    expected = expected_mask(model, method)
    positions = method.adapt(model).shared_state()
    chosen = {
        (name.removesuffix(".positions"), position)
        for name, value in positions.items()
        for position in value.tolist()
    }
    assert chosen == expected
    assert sum(len(value) for value in positions.values()) == len(expected)
    assert {value.dtype for value in positions.values()} == {torch.int32}


def test_a_task_costs_four_bytes_a_value_and_the_optimiser_as_many_values() -> None:
    model = tiny("bert")
    budget = round(0.02 * sum(value.size for value in encoder(model).values()))
    adaptation = pafi().adapt(model)
    state = adaptation.task_state()
    assert sum(state[name].numel() for name in state.keys() - adaptation.head.keys()) == budget
    assert count_bytes(adaptation)["method"] == 4 * budget
    optimizer = torch.optim.AdamW(adaptation.trainable.values())
    model(**batch()).logits.sum().backward()
    optimizer.step()
    assert sum(entry["exp_avg"].numel() for entry in optimizer.state.values()) == budget


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (pafi(density=1.0, exclude="embeddings"), "the candidates have"),
        (pafi(exclude="."), "the candidates have 0"),
        (pafi(density=1e-9), "asks for 0"),
    ],
    ids=["more-than-candidates", "no-candidates", "nothing"],
)
def test_a_budget_that_cannot_be_met_is_refused(method: PaFi, words: str) -> None:
    with pytest.raises(InputError, match=words):
        method.adapt(tiny("bert"))


@pytest.mark.parametrize("architecture", ["bert", "deberta-v2"])
def test_the_gradient_is_that_of_a_dense_delta_at_the_positions(architecture: str) -> None:
    bare = tiny(architecture).double()
    model = copy.deepcopy(bare)
    adaptation = pafi(density=0.3).adapt(model)
    fill(adaptation.trainable, seed=1)
    loss(model(**batch()).logits).backward()

    positions = {n.removesuffix(".positions"): p.long() for n, p in adaptation.shared_state().items()}
    dense = {name: torch.zeros_like(bare.get_parameter(name)) for name in positions}
    for name, where in positions.items():
        dense[name].view(-1)[where] = adaptation.trainable[f"{name}.delta"].detach()
        dense[name].requires_grad_(True)
    values = {name: bare.get_parameter(name).detach() + delta for name, delta in dense.items()}
    loss(functional_call(bare, values, kwargs=batch()).logits).backward()

    for name, where in positions.items():
        ours, dense_gradient = adaptation.trainable[f"{name}.delta"].grad, dense[name].grad
        assert dense_gradient is not None
        torch.testing.assert_close(ours, dense_gradient.view(-1)[where], rtol=1e-10, atol=1e-14)


def test_debertas_query_projection_is_read_twice_a_pass() -> None:
    # What makes the test above more than one of BERT's again.
    model, calls = tiny("deberta-v2"), []
    query = anatomy(model).blocks[0]["attention.query"].module
    query.register_forward_hook(lambda *_: calls.append(1))
    logits(model)
    assert len(calls) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_hundred_task_swaps_leave_no_trace(dtype: torch.dtype) -> None:
    bare = tiny("bert").to(dtype)
    with torch.no_grad():  # a zero's sign is lost in a sum, so removal must not be a sum
        bare.bert.embeddings.word_embeddings.weight[10:20] = -0.0
    adaptation = pafi(density=0.3).adapt(copy.deepcopy(bare))
    states, outputs = [], []
    for seed in range(3):
        fill(adaptation.trainable | adaptation.head, seed)
        states.append(snapshot(adaptation))
        outputs.append(logits(adaptation.model))
    sample = random.Random(0)
    for _ in range(100):
        task = sample.randrange(3)
        adaptation.load_task_state(states[task])
        assert torch.equal(logits(adaptation.model), outputs[task])
    restored = adaptation.detach()
    assert all(same_bits(restored.get_parameter(n), bare.get_parameter(n)) for n in encoder_names(bare))


def test_a_state_of_another_mask_is_refused(tmp_path: Path) -> None:
    path, checksum = tmp_path / "task.safetensors", "a" * 64
    ours = pafi(scope="per_tensor").adapt(tiny("bert"))
    save_task_state(path, ours, provenance(ours, checksum))
    perturbed = tiny("bert")
    with torch.no_grad():  # the same number of positions in each tensor, but others
        for name in encoder_names(perturbed):
            values = perturbed.get_parameter(name).view(-1)
            values.copy_(values.flip(0))
    theirs = pafi(scope="per_tensor").adapt(perturbed)
    with pytest.raises(InputError, match="another mask"):
        load_task_state(path, theirs, provenance(theirs, checksum))


def test_temporary_deltas_are_told_apart() -> None:
    # Python gives a new tensor the address of one that is gone, and a fresh tensor has version 0.
    linear = nn.Linear(4, 4, bias=False).requires_grad_(False)
    before = linear.weight.detach().clone()
    where = torch.tensor([1, 3])
    parametrize.register_parametrization(
        linear, "weight", SparseDelta(linear.weight, where, shares_positions=True)
    )
    with torch.no_grad():
        for number in range(50):
            delta = {"parametrizations.weight.0.delta": torch.full((2,), float(number))}
            used = functional_call(linear, delta, torch.eye(4)).T.flatten()[where]
            del delta
            assert torch.equal(used, before.flatten()[where] + number)


@pytest.mark.parametrize("fused", [False, True])
def test_any_optimiser_moves_the_weight(fused: bool) -> None:
    # a fused step does not count as a version of what it writes
    adaptation = pafi().adapt(tiny("bert"))
    optimiser = torch.optim.AdamW(adaptation.trainable.values(), lr=0.1, fused=fused)
    first = logits(adaptation.model)
    for _ in range(2):
        optimiser.zero_grad()
        loss(adaptation.model.train()(**batch(1)).logits).backward()
        optimiser.step()
    moved, state = logits(adaptation.model), adaptation.task_state()
    assert not torch.equal(moved, first)
    again = pafi().adapt(tiny("bert"))
    again.load_task_state(state)
    assert torch.equal(logits(again.model), moved)


def encoder_names(model: PreTrainedModel) -> tuple[str, ...]:
    return anatomy(model).encoder_parameters


def fill(values: dict[str, nn.Parameter], seed: int) -> None:
    """Draw some live values in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in values.values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)


def loss(outputs: Tensor) -> Tensor:
    """Weigh each output differently: a plain sum is blind to many errors."""
    return (outputs * torch.arange(1.0, outputs.numel() + 1).view_as(outputs)).sum()
