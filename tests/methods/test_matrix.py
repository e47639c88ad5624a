"""Every method on every architecture: one tester, no special case but the row's declared facts."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from transformers import PreTrainedModel

from gluelamp.backbones.load import build_from_shape
from gluelamp.cli.app import CONFIGS
from gluelamp.errors import InputError
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    load_task_state,
    provenance,
    save_task_state,
)
from methods.cases import Case, GetMethod, adapt, frozen_originals, outline, snapshot, train
from methods.rows import ROWS, Row
from tiny_models import OUTPUTS, SPECIAL_TOKENS, backbone, batch, logits, same_bits, tiny

CELLS = [(row, architecture) for row in ROWS for architecture in row.on if architecture not in row.refuses]
REFUSALS = [(row, architecture) for row in ROWS for architecture in row.refuses]

matrix = pytest.mark.parametrize("case", CELLS, ids=[f"{r}-{a}" for r, a in CELLS], indirect=True)


def test_every_leaf_has_a_row() -> None:
    assert {path.stem for path in (CONFIGS / "method").glob("*.yaml")} == {row.leaf for row in ROWS}


@pytest.mark.parametrize(("row", "architecture"), REFUSALS, ids=[f"{r}-{a}" for r, a in REFUSALS])
def test_a_missing_part_is_refused_by_name(row: Row, architecture: str, method: GetMethod) -> None:
    model = tiny(architecture)
    with pytest.raises(InputError, match=row.refuses[architecture]):
        adapt_untrained(method(row.leaf, *row.overrides), model)
    bare = tiny(architecture)
    assert outline(model) == outline(bare)
    assert torch.equal(logits(model), logits(bare))


@matrix
def test_what_it_trains_is_what_it_declares(case: Case) -> None:
    at_choice = {name.replace(".positions", ".delta") for name in case.selection.tensors}
    declared = at_choice if case.row.trains is None else case.row.trains(case.parts)
    assert set(case.adaptation.trainable) == declared
    pooler = [case.parts.pooler] if case.row.trains_pooler and case.parts.pooler else []
    heads = tuple(f"{part.path}." for part in (*case.parts.head, *pooler))
    assert set(case.adaptation.head) == {n for n, _ in case.bare.named_parameters() if n.startswith(heads)}
    opened = {id(value) for value in case.adaptation.model.parameters() if value.requires_grad}
    trained = case.adaptation.trainable | case.adaptation.head
    assert opened == {id(value) for value in trained.values()}


@matrix
def test_a_gradient_reaches_every_trained_tensor(case: Case) -> None:
    # Zero is a legitimate gradient: key biases in softmax attention, units that are off, and behind a
    # matrix that starts at zero. None says that the tensor takes no part.
    assert not case.without_gradient


@matrix
def test_training_moves_nothing_else(case: Case) -> None:
    now = frozen_originals(case.adaptation.model)
    places = case.adaptation.shared_state() | dict(case.selection.tensors)
    for name, before in case.bare.state_dict().items():
        if name in case.adaptation.head:
            continue
        kept = torch.ones(before.numel(), dtype=torch.bool)
        kept[places.get(f"{name}.positions", torch.empty(0)).long()] = False
        assert same_bits(now[name].flatten()[kept], before.flatten()[kept]), name


@matrix
def test_the_start_is_the_backbone_or_is_declared_not_to_be(case: Case) -> None:
    assert torch.equal(case.start, logits(case.bare)) == case.row.starts_as_backbone


@matrix
def test_training_changes_the_outputs(case: Case) -> None:
    assert not torch.allclose(case.outputs, case.start, atol=1e-3)


@matrix
def test_a_fresh_adaptation_takes_the_state_exactly(case: Case) -> None:
    adaptation = case.fresh(case.state)
    assert torch.equal(logits(adaptation.model), case.outputs)
    again = adaptation.task_state()
    assert again.keys() == case.state.keys()
    assert all(same_bits(value, case.state[name]) for name, value in again.items())


@matrix
def test_tasks_swap_in_place_both_ways(case: Case) -> None:
    adaptation = case.fresh()
    other, others_outputs = snapshot(adaptation), logits(adaptation.model)
    adaptation.load_task_state(case.state)
    assert torch.equal(logits(adaptation.model), case.outputs)
    adaptation.load_task_state(other)
    assert torch.equal(logits(adaptation.model), others_outputs)


@matrix
def test_a_second_task_on_the_same_backbone_leaves_the_first(case: Case) -> None:
    adaptation = case.fresh(case.state)
    second = adapt(case.method, adaptation.detach(), seed=2, selection=case.selection)
    train(second, seed=5, steps=3)
    third = adapt(case.method, second.detach(), seed=3, selection=case.selection, state=case.state)
    assert torch.equal(logits(third.model), case.outputs)


@matrix
def test_merging_keeps_the_outputs_and_the_bare_models_shape(case: Case) -> None:
    adaptation = case.fresh(case.state)
    if not case.row.merges:
        before = outline(adaptation.model)
        with pytest.raises(InputError, match="cannot be merged"):
            adaptation.merge()
        assert outline(adaptation.model) == before
        assert torch.equal(logits(adaptation.model), case.outputs)
        return
    merged = adaptation.merge()
    torch.testing.assert_close(logits(merged), case.outputs, atol=1e-5, rtol=0)
    assert shapes(merged) == shapes(case.bare)
    assert outline(merged) == outline(case.bare)


@matrix
def test_detaching_restores_the_backbone_bit_for_bit(case: Case) -> None:
    adaptation = case.fresh(case.state)
    logits(adaptation.model)  # a pass writes the values of a method that works in place
    model = adaptation.detach()
    now, before = model.state_dict(), case.bare.state_dict()
    assert now.keys() == before.keys()
    assert outline(model) == outline(case.bare)
    assert all(same_bits(now[n], before[n]) for n in before if n not in adaptation.head)
    opened = {name for name, value in model.named_parameters() if value.requires_grad}
    assert opened == set(adaptation.head)


@matrix
def test_a_deep_copy_computes_with_its_own_values(case: Case) -> None:
    adaptation = case.fresh()
    logits(adaptation.model)  # a pass that wrote other values, for a method that works in place
    adaptation.load_task_state(case.state)
    twin = copy.deepcopy(adaptation.model)
    for value in adaptation.trainable.values():
        value.data = torch.full_like(value, torch.nan)
    assert torch.equal(logits(twin), case.outputs)


@matrix
def test_a_deep_copy_outlives_the_detached_original(case: Case) -> None:
    adaptation = case.fresh(case.state)
    twin = copy.deepcopy(adaptation)
    adaptation.detach()
    assert torch.equal(logits(twin.model), case.outputs)
    twin.detach()


@matrix
def test_padding_does_not_change_the_outputs(case: Case) -> None:
    model = case.fresh(case.state).model.double()  # in fp32 another length is another rounding
    inputs = batch()
    garbage = torch.randint_like(inputs["input_ids"][:, :6], SPECIAL_TOKENS, 100)
    padded = {
        "input_ids": torch.cat([inputs["input_ids"], garbage], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.zeros_like(garbage)], dim=1),
    }
    torch.testing.assert_close(logits(model, padded), logits(model), atol=1e-12, rtol=0)


@matrix
def test_the_meta_device_counts_like_a_real_model(case: Case) -> None:
    with torch.device("meta"):
        shell = adapt_untrained(case.method, copy.deepcopy(bare_shell(case.architecture)))
    real = case.fresh()
    assert count_parameters(shell) == count_parameters(real)
    assert count_bytes(shell) == count_bytes(real)


@matrix
def test_the_file_holds_the_counted_bytes_and_gives_the_outputs(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "task.safetensors"
    adaptation = case.fresh(case.state)
    bound_to = provenance(adaptation, "a" * 64)
    save_task_state(path, adaptation, bound_to)
    counted = count_bytes(adaptation)
    assert tensor_bytes(path) == counted["method"] + counted["head"]
    other = case.fresh()
    load_task_state(path, other, bound_to)
    assert torch.equal(logits(other.model), case.outputs)


@matrix
def test_a_file_of_another_backbone_or_mask_is_refused(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "task.safetensors"
    adaptation = case.fresh(case.state)
    bound_to = provenance(adaptation, "a" * 64)
    save_task_state(path, adaptation, bound_to)
    for key, meaning in (("backbone", "another backbone"), ("shared", "another mask or bank")):
        with pytest.raises(InputError, match=meaning):
            load_task_state(path, adaptation, bound_to | {key: "b" * 64})


@matrix
def test_the_trained_values_can_come_from_outside(case: Case) -> None:
    adaptation = case.fresh()
    own_names = {id(value): name for name, value in adaptation.model.named_parameters()}
    trained = case.adaptation.trainable | case.adaptation.head
    ours = adaptation.trainable | adaptation.head
    before = logits(adaptation.model)

    def with_values(scale: float) -> Tensor:
        values = {own_names[id(ours[name])]: scale * value.detach() for name, value in trained.items()}
        with torch.no_grad():
            return functional_call(adaptation.model, values, kwargs=batch()).logits

    assert torch.equal(with_values(1.0), case.outputs)
    assert not torch.equal(with_values(0.5), case.outputs)  # temporaries of before are gone: no mix-up
    assert torch.equal(logits(adaptation.model), before)


@cache
def bare_shell(architecture: str) -> PreTrainedModel:
    return build_from_shape(backbone(architecture), OUTPUTS, "eager")


def shapes(model: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items()}


def tensor_bytes(path: Path) -> int:
    """Return a safetensors file's size without its header."""
    header = int.from_bytes(path.read_bytes()[:8], "little")
    return path.stat().st_size - 8 - header
