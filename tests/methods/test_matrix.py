"""Every method on every architecture: one tester, no special case but the row's declared facts.

A cell is one row on one architecture, trained once. Its tests share few adaptations, since copying and
adapting a model is most of their time.
"""

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
from gluelamp.errors import InputError
from gluelamp.methods.phases import adapt_untrained
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    load_task_state,
    provenance,
    save_task_state,
)
from gluelamp.package_data import CONFIGS
from methods.cases import Case, GetMethod, adapt, frozen_originals, outline, snapshot, train
from methods.rows import ROWS, Row
from tiny_models import OUTPUTS, SPECIAL_TOKENS, backbone, batch, logits, same_bits, tiny

CELLS = [(row, architecture) for row in ROWS for architecture in row.on if architecture not in row.refuses]
REFUSALS = [(row, architecture) for row in ROWS for architecture in row.refuses]

matrix = pytest.mark.parametrize("case", CELLS, ids=[f"{r}-{a}" for r, a in CELLS], indirect=True)


def test_every_method_config_has_a_row_and_declares_its_facts(method: GetMethod) -> None:
    assert {path.stem for path in (CONFIGS / "method").glob("*.yaml")} == {row.config for row in ROWS}
    families = {"full", "bias", "sparse", "reparametrization", "adapter", "selected adapter", "prompt"}
    for row in ROWS:
        one = method(row.config, *row.overrides)
        assert one.family in families, row
        assert one.checked_against, row
        # an architecture without biases cannot take up what the method merges elsewhere
        assert one.merges == row.merges or "modernbert" in row.on, row
        assert type(one)()  # every option has a default


@pytest.mark.parametrize(("row", "architecture"), REFUSALS, ids=[f"{r}-{a}" for r, a in REFUSALS])
def test_a_missing_part_is_refused_by_name(row: Row, architecture: str, method: GetMethod) -> None:
    model = tiny(architecture)
    with pytest.raises(InputError, match=row.refuses[architecture]):
        adapt_untrained(method(row.config, *row.overrides), model)
    bare = tiny(architecture)
    assert outline(model) == outline(bare)
    assert torch.equal(logits(model), logits(bare))


@matrix
def test_it_trains_what_it_declares_and_nothing_else(case: Case) -> None:
    at_positions = {name.replace(".positions", ".delta") for name in case.selection.tensors}
    declared = at_positions if case.row.trains is None else case.row.trains(case.parts)
    assert set(case.adaptation.trainable) == declared
    pooler = [case.parts.pooler] if case.row.trains_pooler and case.parts.pooler else []
    heads = tuple(f"{part.path}." for part in (*case.parts.head, *pooler))
    assert set(case.adaptation.head) == {n for n, _ in case.bare.named_parameters() if n.startswith(heads)}
    unfrozen = {id(value) for value in case.adaptation.model.parameters() if value.requires_grad}
    trained = case.adaptation.trainable | case.adaptation.head
    assert unfrozen == {id(value) for value in trained.values()}
    # Zero is a legitimate gradient: key biases in softmax attention, units that are off, and layers after a
    # matrix that is zero at the start. None means that the loss does not depend on the tensor.
    assert not case.without_gradient

    now = frozen_originals(case.adaptation.model)
    positions = case.adaptation.shared_state() | dict(case.selection.tensors)
    for name, before in case.bare.state_dict().items():
        if name in case.adaptation.head:
            continue
        frozen = torch.ones(before.numel(), dtype=torch.bool)
        frozen[positions.get(f"{name}.positions", torch.empty(0)).long()] = False
        assert same_bits(now[name].flatten()[frozen], before.flatten()[frozen]), name


@matrix
def test_it_starts_as_declared_and_training_changes_the_outputs(case: Case) -> None:
    assert torch.equal(case.start, logits(case.bare)) == case.row.starts_as_backbone
    assert not torch.allclose(case.outputs, case.start, atol=1e-3)


@matrix
def test_a_state_is_restored_exactly_and_detaching_restores_the_backbone(case: Case) -> None:
    adaptation = case.fresh(case.state)
    assert torch.equal(logits(adaptation.model), case.outputs)
    again = adaptation.task_state()
    assert again.keys() == case.state.keys()
    assert all(same_bits(value, case.state[name]) for name, value in again.items())

    twin = copy.deepcopy(adaptation)
    model = adaptation.detach()  # after a pass, in which a sparse method wrote its values into the weights
    now, before = model.state_dict(), case.bare.state_dict()
    assert now.keys() == before.keys()
    assert outline(model) == outline(case.bare)
    assert all(same_bits(now[n], before[n]) for n in before if n not in adaptation.head)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(adaptation.head)
    assert torch.equal(logits(twin.model), case.outputs)  # the copy is independent of the original
    twin.detach()

    # a second task on the same backbone does not change the first
    second = adapt(case.method, model, seed=2, selection=case.selection)
    train(second, seed=5, steps=2)
    third = adapt(case.method, second.detach(), seed=3, selection=case.selection, state=case.state)
    assert torch.equal(logits(third.model), case.outputs)


@matrix
def test_tasks_swap_in_place_and_through_files(case: Case, tmp_path: Path) -> None:
    adaptation = case.fresh()
    other, other_outputs = snapshot(adaptation), logits(adaptation.model)
    adaptation.load_task_state(case.state)
    assert torch.equal(logits(adaptation.model), case.outputs)

    path = tmp_path / "task.safetensors"
    origin = provenance(adaptation, "a" * 64)
    save_task_state(path, adaptation, origin)
    counted = count_bytes(adaptation)
    assert tensor_bytes(path) == counted["method"] + counted["head"]
    with torch.device("meta"):
        shell = adapt_untrained(case.method, copy.deepcopy(bare_shell(case.architecture)))
    assert count_bytes(shell) == counted
    assert count_parameters(shell) == count_parameters(adaptation)

    adaptation.load_task_state(other)
    assert torch.equal(logits(adaptation.model), other_outputs)
    for key, meaning in (("backbone", "another backbone"), ("shared", "another mask or bank")):
        with pytest.raises(InputError, match=meaning):
            load_task_state(path, adaptation, origin | {key: "b" * 64})
    load_task_state(path, adaptation, origin)
    assert torch.equal(logits(adaptation.model), case.outputs)


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
def test_copies_and_values_from_outside_compute_with_their_own_values(case: Case) -> None:
    adaptation = case.fresh()
    before = logits(adaptation.model)
    other = copy.deepcopy(adaptation)
    own_names = {id(value): name for name, value in other.model.named_parameters()}
    trained = case.adaptation.trainable | case.adaptation.head
    own = other.trainable | other.head

    def with_values(scale: float) -> Tensor:
        values = {own_names[id(own[name])]: scale * value.detach() for name, value in trained.items()}
        with torch.no_grad():
            return functional_call(other.model, values, kwargs=batch()).logits

    assert torch.equal(with_values(1.0), case.outputs)
    assert not torch.equal(with_values(0.5), case.outputs)  # the temporary values are not cached
    assert torch.equal(logits(other.model), before)

    adaptation.load_task_state(case.state)
    twin = copy.deepcopy(adaptation.model)
    for value in adaptation.trainable.values():
        value.data = torch.full_like(value, torch.nan)
    assert torch.equal(logits(twin), case.outputs)

    model = twin.double()  # in fp32 another length is another rounding
    inputs = batch()
    garbage = torch.randint_like(inputs["input_ids"][:, :6], SPECIAL_TOKENS, 100)
    padded = {
        "input_ids": torch.cat([inputs["input_ids"], garbage], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.zeros_like(garbage)], dim=1),
    }
    torch.testing.assert_close(logits(model, padded), logits(model), atol=1e-12, rtol=0)


@cache
def bare_shell(architecture: str) -> PreTrainedModel:
    return build_from_shape(backbone(architecture), OUTPUTS, "eager")


def shapes(model: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items()}


def tensor_bytes(path: Path) -> int:
    """Return a safetensors file's size without its header."""
    header = int.from_bytes(path.read_bytes()[:8], "little")
    return path.stat().st_size - 8 - header
