"""`Method`, the hyper-parameters of one method, and `Adaptation`, a method applied to one model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar, Literal, dataclass_transform

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, anatomy
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Change

if TYPE_CHECKING:
    from gluelamp.methods.phases import Phase

TaskKind = Literal["classification", "regression", "mixture"]

SELECTION_PREFIX = "choice"
"""Prefix, in a task state, of the tensors that the method's phases selected. Part of the file format."""

Forward = Callable[[], Tensor]
"""Runs the model on the current batch; returns the head's outputs (batch, outputs) in fp32."""

TaskLoss = Callable[[Tensor], Tensor]
"""The task's mean loss over the current batch, from the head's outputs."""

Objective = Callable[[Forward, TaskLoss], Tensor]
"""Returns the training loss of a batch, from one or more forward passes."""


def one_pass(forward: Forward, task_loss: TaskLoss) -> Tensor:
    """Return the task's loss of one forward pass: the objective of most methods."""
    return task_loss(forward())


@dataclass(frozen=True)
class Selection:
    """What a method's phases selected for one task.

    Args:
        tensors: named tensors that belong to the task state, such as the positions of a mask. The task's
            trained values have no meaning without them.
        initial_values: initial values of the method's training, by full name of a trainable.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    initial_values: Mapping[str, Tensor] = field(default_factory=dict)


class Adaptation:
    """A method applied to one model: the task's trainable values, their storage, and their removal.

    Args:
        model: the sequence classifier, already changed.
        changes: the changes, in the order in which they were made.
        head: the parameters of the task head, by full name.
        encoder_size: parameters of the encoder, without pooler and head.
        selection: what the method's phases selected for this task, such as the positions of a mask.
        objective: the training loss of a batch.
        needs_every_token: whether the last block must compute tokens that the head does not read.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        changes: Iterable[Change],
        head: Mapping[str, nn.Parameter],
        encoder_size: int,
        *,
        selection: Mapping[str, Tensor] | None = None,
        objective: Objective = one_pass,
        needs_every_token: bool = False,
    ) -> None:
        self.encoder_size = encoder_size
        self.model = model
        self.changes = tuple(changes)
        self.head = dict(head)
        self.selection = dict(selection or {})
        self.objective = objective
        self.needs_every_token = needs_every_token

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The method's trainable parameters by full name, without the head."""
        return {name: value for change in self.changes for name, value in change.parameters().items()}

    def method_state(self) -> dict[str, Tensor]:
        """Return what this task must store of the method, without the head."""
        states = [change.state() for change in self.changes]
        selected = {f"{SELECTION_PREFIX}.{name}": value for name, value in self.selection.items()}
        return selected | {name: value.detach() for state in states for name, value in state.items()}

    def task_state(self) -> dict[str, Tensor]:
        """Return what must be stored for this task: the method's values, and the head."""
        return self.method_state() | {name: value.detach() for name, value in self.head.items()}

    @cached_property
    def _state_shapes(self) -> dict[str, torch.Size]:
        # Cached: building a state, such as packing masks into bits, takes longer than loading one.
        return {name: value.shape for name, value in self.task_state().items()}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        """Load another task's values; the backbone is not changed otherwise.

        Raises:
            InputError: if names, shapes or the selection differ from those of this adaptation.
        """
        expected = self._state_shapes
        given = {name: value.shape for name, value in state.items()}
        if expected != given:
            wrong = sorted(
                name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name)
            )
            raise InputError(
                f"The task state does not fit this method and backbone: {len(wrong)} tensors differ in "
                f"name or shape, the first is {wrong[0]!r}. Load it with the configuration of its run."
            )
        # Positions are part of the adapted model's structure, so they are compared and not loaded.
        selected = {name: state[f"{SELECTION_PREFIX}.{name}"] for name in self.selection}
        if any(not torch.equal(selected[name], value) for name, value in self.selection.items()):
            raise InputError(
                "The task state was trained at other positions than this adaptation changes. Adapt the "
                "model with the selection that the task state holds, then load it."
            )
        for change in self.changes:
            change.load(state)
        for name, value in self.head.items():
            value.data.copy_(state[name])

    def shared_state(self) -> dict[str, Tensor]:
        """Return what is stored once for all tasks: a mask's positions, a bank of adapters."""
        return {name: value for change in self.changes for name, value in change.shared().items()}

    def invalidate(self) -> None:
        """Recompute cached values in the next pass; see `Change.invalidate`."""
        for change in self.changes:
            change.invalidate()

    def merge(self) -> PreTrainedModel:
        """Write the method into the backbone's parameters; return the model, now without the method.

        Raises:
            InputError: if the method cannot be merged; the model is then unchanged.
        """
        for change in self.changes:
            change.merge()
        return self.model

    def detach(self) -> PreTrainedModel:
        """Remove the method; return the model with the backbone restored bit for bit.

        The head keeps its trained values: it belongs to the task, not to the backbone.
        """
        # In reverse order: a later change may be built on an earlier one.
        for change in reversed(self.changes):
            change.detach()
        return self.model


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Method:
    """The hyper-parameters of one method, checked on construction.

    A subclass has one field for each hyper-parameter, with a default, and defines `changes`. It becomes a
    frozen pydantic dataclass without a decorator: with a field ``rank: int = Field(default=8, ge=1)``, the
    value ``rank=0`` raises. What belongs to a run's optimisation, such as learning rates, is
    not part of a method.
    """

    # pydantic's decorator adds the fields to the class in place, once its body is complete.
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))(cls)

    family: ClassVar[str] = "other"
    """What the method trains: ``full``, ``bias``, ``sparse``, ``reparametrization``, ``adapter``,
    ``selected adapter``, ``prompt`` or ``other``."""

    reference: ClassVar[str] = ""
    """The paper."""

    merges: ClassVar[bool] = True
    """Whether `Adaptation.merge` works, on an architecture whose linear layers have biases."""

    checked_against: ClassVar[str] = ""
    """The independent implementation or formula that the tests compare with."""

    open_questions: ClassVar[str] = ""
    """What the available texts leave open, or where a paper and its code differ."""

    trains_pooler: ClassVar[bool] = False
    """Whether the method trains the pre-trained pooler before a linear head, too."""

    seed_options: ClassVar[tuple[str, ...]] = ()
    """Options that are seeds, such as that of a random mask. A config sets them to the run's seed."""

    needs_every_token: ClassVar[bool] = False
    """Whether the last block must compute tokens that the head does not read."""

    @property
    def added_tokens(self) -> int:
        """Number of tokens that the method adds to each text; none by default."""
        return 0

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Make the method's changes to a model whose parameters are all frozen.

        Args:
            model: the sequence classifier, changed in place.
            parts: its anatomy.

        Raises:
            InputError: if the method does not support this architecture or size.
        """
        raise NotImplementedError

    def phases(self) -> tuple[Phase, ...]:
        """Return the preliminary phases, which run on the task's data before training; none by default."""
        return ()

    def select(
        self, model: PreTrainedModel, parts: Anatomy, results: Sequence[Mapping[str, Tensor]]
    ) -> Selection:
        """Return what the phases select for the task; nothing by default.

        Args:
            model: the bare sequence classifier.
            parts: its anatomy.
            results: of each phase, the tensors that it returned; see `gluelamp.methods.phases`.
        """
        return Selection()

    def selected_changes(
        self, model: PreTrainedModel, parts: Anatomy, selected: Mapping[str, Tensor]
    ) -> list[Change]:
        """Make the changes that the phases selected; by default those of `changes`.

        Args:
            model: as for `changes`.
            parts: its anatomy.
            selected: `Selection.tensors`.
        """
        return self.changes(model, parts)

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Return the training loss of a batch: by default the task's, of one forward pass.

        Args:
            changes: those that this method made.
            forward: runs the model on the batch; may be called more than once.
            task_loss: of the outputs that ``forward`` returns.
        """
        return one_pass(forward, task_loss)

    def check_task(self, kind: TaskKind) -> None:
        """Refuse a task that the method cannot train on, before any training.

        Args:
            kind: whether its labels are classes or numbers, or whether it is a mixture of tasks.

        Raises:
            InputError: with the reason, and what to set instead.
        """

    def resolve(self, backbone: str) -> dict[str, str]:
        """Check the files that the method reads, and return what replaces their paths in a run's identity.

        Args:
            backbone: checksum of the backbone's weights.

        Returns:
            by field, the checksum of the file it names; nothing for a method without files.

        Raises:
            InputError: if a file is missing or was made with another backbone.
        """
        return {}

    def adapt(self, model: PreTrainedModel, selection: Selection | None = None) -> Adaptation:
        """Freeze a model, apply the method, and unfreeze the head.

        Args:
            model: a sequence classifier of ``transformers`` on the CPU (or the meta device), changed in
                place; move it afterwards.
            selection: what the method's phases selected, from `gluelamp.methods.phases.run_phases` or
                `gluelamp.methods.storage.read_selection`. Only a method with phases needs one.

        Raises:
            InputError: if the method does not support this architecture or size, or has phases and gets
                no selection.
        """
        if selection is None:
            if self.phases():
                raise InputError(
                    f"{type(self).__name__} with these options has a preliminary phase, and adapt() got no "
                    "selection. Make one with run_phases(), read one with read_selection() or, to count or "
                    "to time without training, take untrained_selection()."
                )
            selection = Selection()
        # Everything is frozen first, so that only what the method and the head unfreeze is trained.
        parts = anatomy(model)
        model.requires_grad_(False)
        # Counted before the changes, which may replace or add parameters.
        size = sum(model.get_parameter(name).numel() for name in parts.encoder_parameters)
        changes = self.selected_changes(model, parts, selection.tensors)
        head = self.head(parts)
        for value in head.values():
            value.requires_grad_(True)
        adaptation = Adaptation(
            model,
            changes,
            head,
            size,
            selection=selection.tensors,
            # `one_pass` itself means that the loss is a mean over rows, so that profiles can be stacked.
            objective=one_pass if type(self).loss is Method.loss else partial(self.loss, changes),
            needs_every_token=self.needs_every_token,
        )
        for name, initial in selection.initial_values.items():
            adaptation.trainable[name].data.copy_(initial)
        return adaptation

    def head(self, parts: Anatomy) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained with the task head, by full name."""
        pooler = [parts.pooler] if parts.pooler and self.trains_pooler else []
        return {
            f"{part.path}.{name}": value
            for part in (*parts.head, *pooler)
            for name, value in part.module.named_parameters()
        }
