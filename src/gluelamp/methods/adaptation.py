"""What a method becomes on a model: an adaptation, which is a list of changes.

Each `Change` stands at one place of the model and knows its trainable values, what of them a task
stores, what all tasks share, and how to leave again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.errors import InputError

CHOICE = "choice"
"""Stands before the name of what was chosen for a task, in its task state."""

Forward = Callable[[], Tensor]
"""Runs the model on the batch at hand; returns the head's outputs (batch, outputs) in fp32."""

TaskLoss = Callable[[Tensor], Tensor]
"""The task's mean loss over the batch at hand, from the head's outputs."""

Objective = Callable[[Forward, TaskLoss], Tensor]


def one_pass(forward: Forward, task_loss: TaskLoss) -> Tensor:
    """Return the task's loss of one forward pass: the objective of most methods."""
    return task_loss(forward())


class Change(Protocol):
    """One change to a model."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable values by full name."""

    def state(self) -> dict[str, Tensor]:
        """Return what one task must store of this change, and nothing more."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned; other names in ``state`` are left alone."""

    def shared(self) -> dict[str, Tensor]:
        """Return what is stored once for all tasks."""

    def merge(self) -> None:
        """Write the change into the backbone's own parameters and leave.

        Raises:
            InputError: if the change cannot be written as weights of the backbone.
        """

    def detach(self) -> None:
        """Leave, and restore the backbone bit for bit."""


class Adaptation:
    """A method at work on one model: the task's trainable values, their storage, and the way back.

    Args:
        model: the sequence classifier, already changed.
        changes: the changes, in the order in which they were made.
        head: the parameters of the task head, by full name.
        encoder_size: parameters of the encoder, pooler and head not counted.
        choice: what the method's phases chose for this task, such as the positions of a mask.
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
        choice: Mapping[str, Tensor] | None = None,
        objective: Objective = one_pass,
        needs_every_token: bool = False,
    ) -> None:
        self.encoder_size = encoder_size
        self.model = model
        self.changes = tuple(changes)
        self.head = dict(head)
        self.choice = dict(choice or {})
        self.objective = objective
        self.needs_every_token = needs_every_token

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The method's trainable parameters by full name, without the head."""
        return {name: value for change in self.changes for name, value in change.parameters().items()}

    def method_state(self) -> dict[str, Tensor]:
        """Return what this task must store of the method, without the head."""
        states = [change.state() for change in self.changes]
        chosen = {f"{CHOICE}.{name}": value for name, value in self.choice.items()}
        return chosen | {name: value.detach() for state in states for name, value in state.items()}

    def task_state(self) -> dict[str, Tensor]:
        """Return what must be stored for this task: the method's values, and the head."""
        return self.method_state() | {name: value.detach() for name, value in self.head.items()}

    @cached_property
    def _state_shapes(self) -> dict[str, torch.Size]:
        # Once: to write a state, such as bits of masks, costs more than to load one.
        return {name: value.shape for name, value in self.task_state().items()}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        """Put another task's values in place; the backbone is not touched otherwise.

        Raises:
            InputError: if names, shapes or what was chosen are not those of this adaptation.
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
        if any(not torch.equal(state[f"{CHOICE}.{name}"], value) for name, value in self.choice.items()):
            raise InputError(
                "The task state was trained at other places than this adaptation changes. Adapt the "
                "model with the choice that the task state holds, then load it."
            )
        for change in self.changes:
            change.load(state)
        for name, value in self.head.items():
            value.data.copy_(state[name])

    def shared_state(self) -> dict[str, Tensor]:
        """Return what is stored once for all tasks: a mask's positions, a bank of adapters."""
        return {name: value for change in self.changes for name, value in change.shared().items()}

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

        The head stays as it is: it belongs to the task, not to the backbone.
        """
        for change in reversed(self.changes):
            change.detach()
        return self.model


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hexadecimal) over names, shapes, types and values of some tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def select(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries of a state that stand under a prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
