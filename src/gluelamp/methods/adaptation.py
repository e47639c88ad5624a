"""`Adaptation`: a method applied to one model, with its trained values, their files and their removal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.errors import InputError
from gluelamp.io import user_path
from gluelamp.methods import pretrained, storage
from gluelamp.methods.changes.change import Change
from gluelamp.methods.selection import SELECTION_PREFIX

if TYPE_CHECKING:
    from gluelamp.methods.base import Method

Forward = Callable[[], Tensor]
"""Runs the model on the current batch; returns the head's outputs (batch, outputs) in fp32."""

TaskLoss = Callable[[Tensor], Tensor]
"""The task's mean loss over the current batch, from the head's outputs."""

Objective = Callable[[Forward, TaskLoss], Tensor]
"""Returns the training loss of a batch, from one or more forward passes."""


def one_pass(forward: Forward, task_loss: TaskLoss) -> Tensor:
    """Return the task's loss of one forward pass: the objective of most methods."""
    return task_loss(forward())


class Adaptation:
    """A method applied to one model: the task's trainable values, their storage, and their removal.

    `Method.adapt` makes it. The model is the one that was given, changed in place. It is used as before, in a
    loop of one's own or in ``transformers.Trainer``.

    Args:
        model: already changed.
        changes: the changes, in the order in which they were made.
        head: the parameters of the task head, by full name.
        encoder_parameters: full names, in the unchanged model, of the encoder's parameters.
        encoder_size: parameters of the encoder, without pooler and head.
        method: the hyper-parameters.
        selection: what the method's phases selected for this task, such as the positions of a mask.
        objective: the training loss of a batch, from passes and a loss of one's own; see `loss`.
        needs_every_token: whether the last block must compute tokens that the head does not read.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        changes: Iterable[Change],
        head: Mapping[str, nn.Parameter],
        encoder_parameters: tuple[str, ...],
        encoder_size: int,
        *,
        method: Method,
        selection: Mapping[str, Tensor] | None = None,
        objective: Objective = one_pass,
        needs_every_token: bool = False,
    ) -> None:
        self.model = model
        self.changes = tuple(changes)
        self.head = dict(head)
        self.encoder_parameters = encoder_parameters
        self.encoder_size = encoder_size
        self.method = method
        self.selection = dict(selection or {})
        self.objective = objective
        self.needs_every_token = needs_every_token
        pretrained.guard(self)

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """The method's trainable parameters by full name, without the head."""
        return {name: value for change in self.changes for name, value in change.parameters().items()}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all trainable parameters: the method's, then the head's."""
        yield from self.trainable.values()
        yield from self.head.values()

    def parameter_groups(
        self, learning_rate: float, head_learning_rate: float | None = None, weight_decay: float = 0.0
    ) -> list[dict[str, Any]]:
        """Return the parameter groups of an optimiser: the method's values, and the head.

        Args:
            learning_rate: of the method's values.
            head_learning_rate: of the head; ``learning_rate`` if None.
            weight_decay: of both.
        """
        groups = (self.trainable, learning_rate), (self.head, head_learning_rate or learning_rate)
        return [
            {"params": list(values.values()), "lr": rate, "weight_decay": weight_decay}
            for values, rate in groups
            if values  # optimisers refuse an empty group
        ]

    def optimizer(
        self,
        learning_rate: float | None = None,
        head_learning_rate: float | None = None,
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> torch.optim.AdamW:
        """Return the optimiser of the suite's own trainer: fused AdamW, with a rate for method and head.

        Args:
            learning_rate: of the method's values; if None, both rates are those of the method's config.
            head_learning_rate: of the head; ``learning_rate`` if None.
            weight_decay: on all trained values.
            betas: decay rates of the moments.
            eps: added to the denominator.

        Raises:
            InputError: if no rate is given and the method has no config.
        """
        # The registry imports all methods, and these import this module.
        from gluelamp.methods.registry import rates_or_default

        rates = rates_or_default(self.method, learning_rate, head_learning_rate)
        groups = self.parameter_groups(*rates, weight_decay)
        optimizer = torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True)
        # PyTorch does not count a fused step as a write, so what a pass cached before it would stay.
        optimizer.register_step_post_hook(self._after_step)
        return optimizer

    def _after_step(self, *_: object) -> None:
        self.invalidate()

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the training loss of a batch: the model's own, and what the method adds to it.

        Most methods add nothing, and then this is ``model(**batch).loss``. For a loss of your own, call
        ``objective(forward, task_loss)`` with a function that returns the model's outputs and one that
        returns their loss.

        Args:
            batch: inputs of the model, with labels.

        Raises:
            InputError: if the model computes no loss: it has no labels, or no head.
        """
        passes: list[tuple[Tensor, Tensor]] = []

        def forward() -> Tensor:
            output = self.model(**batch)
            if getattr(output, "loss", None) is None:
                raise InputError(
                    f"{type(self.model).__name__} returned no loss. Give the batch labels or, for a model "
                    "without a head, call adapted.objective(forward, task_loss) with a loss of your own."
                )
            loss, outputs = output[:2]
            passes.append((outputs, loss))
            return outputs

        def task_loss(outputs: Tensor) -> Tensor:
            return next(loss for own, loss in passes if own is outputs)

        return self.objective(forward, task_loss)

    def summary(self) -> storage.Summary:
        """Return what is trained, stored per task, and shared; it prints as a short text."""
        return storage.summary(self)

    def save(self, path: str | Path) -> None:
        """Write the task's values and head, as safetensors: what `load` needs, and nothing of the backbone.

        The file holds what predictions need. To continue training later, save a checkpoint of your loop: of
        some methods (HiWi) a task stores the result alone.

        Args:
            path: the file.
        """
        storage.save_task_state(user_path(path), self, self._origin)

    def load(self, path: str | Path) -> None:
        """Load the values of another task, or of another process, that `save` wrote.

        Args:
            path: the file.

        Raises:
            InputError: if it is missing or damaged, or was trained with another backbone, method, mask or
                bank; the model is then unchanged.
        """
        storage.load_task_state(user_path(path), self, self._origin)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> None:
        """Write the merged model for ``from_pretrained``; the model itself stays adapted.

        The adapted model's own ``save_pretrained`` is this method, until `merge` or `detach`. Checkpoints of
        ``transformers.Trainer`` resume; see `gluelamp.methods.pretrained.save_pretrained`.

        Args:
            save_directory: the folder.
            options: of ``save_pretrained`` in ``transformers``.

        Raises:
            InputError: if the method cannot be merged; nothing is written then.
        """
        pretrained.save_pretrained(self, user_path(save_directory), **options)

    @cached_property
    def _origin(self) -> dict[str, str]:
        for change in self.changes:
            change.restore()
        return storage.provenance(self, storage.backbone_checksum(self))

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
        pretrained.unguard(self.model)
        return self.model

    def detach(self) -> PreTrainedModel:
        """Remove the method; return the model with the backbone restored bit for bit.

        The head keeps its trained values: it belongs to the task, not to the backbone.
        """
        # In reverse order: a later change may be built on an earlier one.
        for change in reversed(self.changes):
            change.detach()
        pretrained.unguard(self.model)
        return self.model
