"""Rows of several profiles in one pass: each as in a pass of its own, for every method and architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gluelamp.errors import InputError, UnsupportedError
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.phases import adapt_untrained, untrained_selection
from gluelamp.profiles import ProfileStore
from gluelamp.tasks.catalogue import known_task
from gluelamp.training.config import TrainerConfig
from gluelamp.training.passes import StackedPasses
from gluelamp.training.stacked import Rows, StackedValues, values_from_states
from methods.cases import GetMethod, adapt, snapshot
from methods.rows import BANK, ONE_OF_EACH, ROWS, TWO, Row
from tiny_models import OUTPUTS, batch, logits, tiny

OWNERS = torch.tensor([2, 0, 1, 0, 2, 0, 2])  # in mixed order, one profile with a single row
PROFILES = 3
WEIGHTS = torch.linspace(0.5, 2.0, len(OWNERS))
LABELS = torch.arange(len(OWNERS)) % OUTPUTS

LORA = Row("lora", None, ("rank=2",))

Values = dict[str, Tensor]


def is_tested(row: Row, architecture: str) -> bool:
    """Select all cells of full fine-tuning, two encoders of each other method, and one of each variant."""
    if row.config == "full" or (row.config, architecture) == ("lora", "deberta-v2"):
        return True
    if row is ONE_OF_EACH[row.config, architecture] and row.config != "peft":
        return architecture in TWO
    return architecture == row.on[0]


CELLS = [
    (row, architecture)
    for row in ROWS
    for architecture in row.on
    if architecture not in row.refuses and is_tested(row, architecture)
]
TOGETHER = [(row, architecture) for row, architecture in CELLS if architecture not in row.alone_on]
# A refusal is the same on every architecture.
ALONE = [
    (row, architecture)
    for row, architecture in CELLS
    if architecture in row.alone_on and architecture in ("bert", "deberta-v2", "mpnet")
]
ON_BERT = [row for (_, architecture), row in ONE_OF_EACH.items() if architecture == "bert"]


@dataclass
class Cell:
    """An adaptation, and values of some profiles for it.

    Args:
        adaptation: in evaluation mode, with its first values.
        values: by name, (P, *shape), all different.
        inputs: of the model, padded to unlike lengths.
    """

    adaptation: Adaptation
    values: Values
    inputs: dict[str, Tensor]

    @property
    def named(self) -> Mapping[str, torch.nn.Parameter]:
        return self.adaptation.trainable | self.adaptation.head

    def load(self, profile: int) -> None:
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(self.values[name][profile])


def make_cell(row: Row, architecture: str, method: GetMethod) -> Cell:
    spec, model = method(row.config, *row.overrides), tiny(architecture)
    adaptation = adapt(spec, model, 0, untrained_selection(spec, model))
    generator = torch.Generator().manual_seed(1)
    values = {
        name: torch.stack(
            [start.detach() + 0.1 * torch.randn(start.shape, generator=generator) for _ in range(PROFILES)]
        )
        for name, start in (adaptation.trainable | adaptation.head).items()
    }
    inputs = batch(rows=len(OWNERS))
    inputs["attention_mask"][0, 6:] = 0
    inputs["attention_mask"][5, 4:] = 0
    adaptation.model.eval()
    return Cell(adaptation, values, inputs)


def loss_of(outputs: Tensor, rows: Tensor) -> Tensor:
    return WEIGHTS[rows] @ functional.cross_entropy(outputs, LABELS[rows], reduction="none")


def gradients_of(loss: Tensor, values: list[Tensor]) -> tuple[Tensor, ...]:
    """Return zeros for what has none in evaluation, such as a decision."""
    return torch.autograd.grad(loss, values, allow_unused=True, materialize_grads=True)


def one_by_one(cell: Cell) -> tuple[Tensor, Values]:
    """Return the outputs of all rows and the gradients (P, *shape), from one pass for each profile."""
    outputs, gradients = torch.empty(len(OWNERS), OUTPUTS), []
    for profile in range(PROFILES):
        cell.load(profile)
        rows = torch.nonzero(profile == OWNERS).squeeze(1)
        own = cell.adaptation.model(**{name: value[rows] for name, value in cell.inputs.items()}).logits
        gradients.append(gradients_of(loss_of(own, rows), list(cell.named.values())))
        outputs[rows] = own.detach()
    return outputs, dict(zip(cell.named, map(torch.stack, zip(*gradients, strict=True)), strict=True))


def together(cell: Cell, stacked: StackedValues) -> tuple[Tensor, Values]:
    """Return the same from one pass."""
    values = {name: value.clone().requires_grad_() for name, value in cell.values.items()}
    with stacked.rows(values, Rows.from_owners(OWNERS, PROFILES)):
        outputs = cell.adaptation.model(**cell.inputs).logits
    found = gradients_of(loss_of(outputs, torch.arange(len(OWNERS))), list(values.values()))
    return outputs.detach(), dict(zip(values, found, strict=True))


@pytest.mark.parametrize(("row", "architecture"), TOGETHER, ids=[f"{r}-{a}" for r, a in TOGETHER])
def test_each_row_is_computed_as_with_its_own_profile_alone(
    row: Row, architecture: str, method: GetMethod
) -> None:
    cell = make_cell(row, architecture, method)
    before = logits(cell.adaptation.model, cell.inputs)
    stacked = StackedValues(cell.adaptation)
    outputs, gradients = together(cell, stacked)
    assert torch.equal(logits(cell.adaptation.model, cell.inputs), before)

    expected, alone = one_by_one(cell)
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=0)
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    for name, gradient in alone.items():
        # the second term is for gradients that are zero but for rounding, such as a key bias's
        allowed = 1e-4 * float(gradient.abs().max()) + 1e-6 * largest
        torch.testing.assert_close(gradients[name], gradient, atol=allowed, rtol=0, msg=name)


@pytest.mark.parametrize(("row", "architecture"), ALONE, ids=[f"{r}-{a}" for r, a in ALONE])
def test_what_cannot_be_stacked_is_refused_before_any_pass(
    row: Row, architecture: str, method: GetMethod
) -> None:
    cell = make_cell(row, architecture, method)
    before = logits(cell.adaptation.model, cell.inputs)
    with pytest.raises(UnsupportedError, match=r"trainer\.profiles_per_pass=1"):
        StackedValues(cell.adaptation)
    assert torch.equal(logits(cell.adaptation.model, cell.inputs), before)


def test_methods_with_a_loss_of_their_own_are_refused(method: GetMethod) -> None:
    """Such a loss is of a whole batch; `StackedPasses` has one loss for each row."""
    refused = set()
    for row in ON_BERT:
        spec = method(row.config, *row.overrides)
        if type(spec).loss is not Method.loss:
            with pytest.raises(InputError, match="whose loss is the task's own"):
                StackedPasses(spec.adapt(tiny("bert")), known_task("mrpc"), [], TrainerConfig())
            refused.add(row.config)
    assert refused == {"adamix", "dyt", "pha"}


def test_a_profile_without_rows_has_no_part_in_a_pass(method: GetMethod) -> None:
    cell = make_cell(LORA, "bert", method)
    values = {name: value.clone().requires_grad_() for name, value in cell.values.items()}
    stacked = StackedValues(cell.adaptation)
    with stacked.rows(values, Rows.from_owners(torch.full((len(OWNERS),), 1), PROFILES)):
        outputs = cell.adaptation.model(**cell.inputs).logits
    outputs.sum().backward()
    cell.load(1)
    torch.testing.assert_close(outputs, logits(cell.adaptation.model, cell.inputs), atol=1e-5, rtol=0)
    for value in values.values():
        assert value.grad is not None
        assert not value.grad[[0, 2]].any()


@pytest.mark.parametrize("owners", [[0, 0, 1, 1], [1, 0, 0, 1], [1], [0, 2, 0]])
def test_rows_come_back_from_the_layout_as_they_went(owners: list[int]) -> None:
    rows = Rows.from_owners(torch.tensor(owners), PROFILES - 1 if 2 not in owners else PROFILES)
    x = torch.randn(len(owners), 2)
    grouped = rows.group(x)
    assert torch.equal(rows.ungroup(grouped), x)
    for profile in range(rows.profiles):
        own = x[torch.tensor(owners) == profile]
        assert torch.equal(grouped[profile, : len(own)], own)
        assert not grouped[profile, len(own) :].any()


STORED = [
    LORA,
    Row("pfeiffer", None),
    Row("xpeft", None, BANK),
    Row("xpeft", None, (*BANK, "inner_layer_norm=true")),
    Row("xpeft_soft", None, BANK),
]


@pytest.mark.parametrize("row", STORED, ids=str)
def test_rows_of_stored_profiles_pass_as_after_a_switch(row: Row, method: GetMethod, tmp_path: Path) -> None:
    cell = make_cell(row, "bert", method)
    states = []
    for profile in range(PROFILES):
        cell.load(profile)
        states.append(snapshot(cell.adaptation))
    store = ProfileStore.create(tmp_path / "last.profiles", states[0], provenance={}, method={})
    names = [f"user {profile}" for profile in range(PROFILES)]
    store.append(names, {name: torch.stack([state[name] for state in states]) for name in states[0]})

    cell.load(0)
    values = values_from_states(cell.adaptation, store.read_many(names))
    with StackedValues(cell.adaptation).rows(values, Rows.from_owners(OWNERS, PROFILES)):
        mixed = logits(cell.adaptation.model, cell.inputs)
    for number, owner in enumerate(OWNERS.tolist()):
        cell.adaptation.load_task_state(store.read(names[owner]))
        alone = {name: value[number : number + 1] for name, value in cell.inputs.items()}
        expected = logits(cell.adaptation.model, alone)
        torch.testing.assert_close(mixed[number : number + 1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "reason"), [("hiwi", "not what a task stores"), ("fish", "also stores where")]
)
def test_states_that_are_not_the_values_are_refused(name: str, reason: str, method: GetMethod) -> None:
    adaptation = adapt_untrained(method(name), tiny("bert"))
    states = {name: value[None] for name, value in adaptation.task_state().items()}
    with pytest.raises(UnsupportedError, match=reason):
        values_from_states(adaptation, states)
