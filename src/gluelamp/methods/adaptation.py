"""What a method is (a recipe), and what it becomes on a model (an adaptation).

An `Adaptation` is a list of changes. Each `Change` stands at one place of the model and knows its
trainable values, what of them a task stores, what all tasks share, and how to leave again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, anatomy
from gluelamp.errors import InputError


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
    """

    def __init__(
        self,
        model: PreTrainedModel,
        changes: Iterable[Change],
        head: Mapping[str, nn.Parameter],
        encoder_size: int,
    ) -> None:
        self.encoder_size = encoder_size
        self.model = model
        self.changes = tuple(changes)
        self.head = dict(head)

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The method's trainable parameters by full name, without the head."""
        return {name: value for change in self.changes for name, value in change.parameters().items()}

    def method_state(self) -> dict[str, Tensor]:
        """Return what this task must store of the method, without the head."""
        states = [change.state() for change in self.changes]
        return {name: value.detach() for state in states for name, value in state.items()}

    def task_state(self) -> dict[str, Tensor]:
        """Return what must be stored for this task: the method's values, and the head."""
        return self.method_state() | {name: value.detach() for name, value in self.head.items()}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        """Put another task's values in place; the backbone is not touched otherwise.

        Raises:
            InputError: if names or shapes are not those of this adaptation.
        """
        expected = {name: value.shape for name, value in self.task_state().items()}
        given = {name: value.shape for name, value in state.items()}
        if expected != given:
            wrong = sorted(
                name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name)
            )
            raise InputError(
                f"The task state does not fit this method and backbone: {len(wrong)} tensors differ in "
                f"name or shape, the first is {wrong[0]!r}. Load it with the configuration of its run."
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


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Method:
    """A recipe: the hyper-parameters of one method, checked on construction.

    A method's own file subclasses this with its fields and `changes`.

    Args:
        name: the suite's name, as in tables.
        learning_rate: default peak learning rate of the method's values, found on real data.
        head_learning_rate: that of the task head; the same as ``learning_rate`` if None.
    """

    trains_pooler: ClassVar[bool] = False
    """Whether the method trains the pre-trained pooler whatever ``head.train_pooler`` says."""

    name: str
    learning_rate: float = Field(gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Make the method's changes to a model whose parameters are all frozen.

        Args:
            model: the sequence classifier, changed in place.
            parts: its anatomy.

        Raises:
            InputError: if the method cannot serve this architecture or size.
        """
        raise NotImplementedError

    def adapt(self, model: PreTrainedModel, train_pooler: bool = False) -> Adaptation:
        """Freeze a model, apply the method, and open its head for training.

        Args:
            model: a sequence classifier of ``transformers``, changed in place.
            train_pooler: whether the pre-trained pooler is trained (and counted) with the head.

        Raises:
            InputError: if the method cannot serve this architecture or size.
        """
        parts = anatomy(model)
        model.requires_grad_(False)
        size = sum(model.get_parameter(name).numel() for name in parts.encoder_parameters)
        changes = self.changes(model, parts)
        pooler = [parts.pooler] if parts.pooler and (train_pooler or self.trains_pooler) else []
        head = {
            f"{part.path}.{name}": value
            for part in (*parts.head, *pooler)
            for name, value in part.module.named_parameters()
        }
        for value in head.values():
            value.requires_grad_(True)
        return Adaptation(model, changes, head, size)


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
