"""What a method is: a recipe, checked on construction, that makes an adaptation of a model.

Most methods are made from the pre-trained weights alone. Some first learn something about the task: a
mask from gradients, a head to start from. Such a method declares `Method.phases`, in order, and makes
its `Method.choose` from what they found. The choice is stored with the task.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, anatomy
from gluelamp.methods.adaptation import Adaptation, Change, Forward, TaskLoss, one_pass
from gluelamp.records.files import Name

TaskKind = Literal["classification", "regression", "mixture"]


@dataclass(frozen=True)
class Choice:
    """What a method's phases decided for one task.

    Args:
        stored: named tensors without which the task's values mean nothing, such as the positions of a
            mask: they belong to the task state.
        start: values that the method's training begins with, by full name of a trainable.
    """

    stored: Mapping[str, Tensor] = field(default_factory=dict)
    start: Mapping[str, Tensor] = field(default_factory=dict)


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

    needs_every_token: ClassVar[bool] = False
    """Whether the last block must compute tokens that the head does not read."""

    name: Name
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    head_learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)

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
            InputError: if the method cannot serve this architecture or size.
        """
        raise NotImplementedError

    def phases(self) -> tuple[Phase, ...]:
        """Return what is learnt about a task before the method's own training; nothing by default."""
        return ()

    def choose(self, model: PreTrainedModel, parts: Anatomy, found: Sequence[Mapping[str, Tensor]]) -> Choice:
        """Return what the phases decide for the task; nothing by default.

        Args:
            model: the bare sequence classifier.
            parts: its anatomy.
            found: of each phase, the tensors that it left; see `Training` and `Scoring`.
        """
        return Choice()

    def changes_at(
        self, model: PreTrainedModel, parts: Anatomy, chosen: Mapping[str, Tensor]
    ) -> list[Change]:
        """Make the changes where the phases chose; as `changes` for a method without phases.

        Args:
            model: as for `changes`.
            parts: its anatomy.
            chosen: what is stored of the choice.
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
        """Refuse a task that the method cannot learn, before any training.

        Args:
            kind: whether its labels are classes or numbers, or whether it is several tasks in one.

        Raises:
            InputError: saying why, and what to take instead.
        """

    def resolve(self, backbone: str) -> dict[str, str]:
        """Check what the method reads from files, and return what stands for them in a run's identity.

        Args:
            backbone: checksum of the backbone's weights.

        Returns:
            by field, the checksum of the file it names; nothing for a method without files.

        Raises:
            InputError: if a file is not there or was made with another backbone.
        """
        return {}

    def adapt(
        self,
        model: PreTrainedModel,
        train_pooler: bool = False,
        choice: Choice | None = None,
    ) -> Adaptation:
        """Freeze a model, apply the method, and open its head for training.

        Args:
            model: a sequence classifier of ``transformers`` on the CPU (or the meta device), changed in
                place; move it afterwards.
            train_pooler: whether the pre-trained pooler is trained (and counted) with the head.
            choice: what the method's phases chose, from `learn_choice` or a task state. If None, the
                choice is made as if the phases had learnt nothing: right for counting and timing.

        Raises:
            InputError: if the method cannot serve this architecture or size.
        """
        if choice is None:
            choice = learn_choice(self, model, train_pooler, untrained)
        parts = anatomy(model)
        model.requires_grad_(False)
        size = sum(model.get_parameter(name).numel() for name in parts.encoder_parameters)
        changes = self.changes_at(model, parts, choice.stored)
        head = self._head(parts, train_pooler)
        for value in head.values():
            value.requires_grad_(True)
        adaptation = Adaptation(
            model,
            changes,
            head,
            size,
            choice=choice.stored,
            objective=one_pass if type(self).loss is Method.loss else partial(self.loss, changes),
            needs_every_token=self.needs_every_token,
        )
        for name, start in choice.start.items():
            adaptation.trainable[name].data.copy_(start)
        return adaptation

    def _head(self, parts: Anatomy, train_pooler: bool) -> dict[str, nn.Parameter]:
        pooler = [parts.pooler] if parts.pooler and (train_pooler or self.trains_pooler) else []
        return {
            f"{part.path}.{name}": value
            for part in (*parts.head, *pooler)
            for name, value in part.module.named_parameters()
        }


@dataclass(frozen=True)
class Training:
    """A phase that trains a method of its own; it leaves that method's task state.

    Args:
        method: what is trained, at its own learning rates.
        epochs: passes over the training data.
    """

    method: Method
    epochs: int


@dataclass(frozen=True)
class Scoring:
    """A phase that sums squared gradients; it leaves one tensor for each trainable of a method.

    Args:
        method: its trainable values are scored, at their start.
        examples: training examples, drawn with the run's seed.
        batch_size: examples whose mean loss gives one gradient; 1 is the empirical Fisher information.
        labels: ``observed`` in the data, or the ``expected`` square over the model's own distribution.
    """

    method: Method
    examples: int
    batch_size: int
    labels: Literal["observed", "expected"] = "observed"


Phase = Training | Scoring
Learn = Callable[[Phase, Adaptation], Mapping[str, Tensor]]


def learn_choice(method: Method, model: PreTrainedModel, train_pooler: bool, learn: Learn) -> Choice:
    """Go through a method's phases, each on a copy of the model, and return what they choose.

    A head that a phase trained is where the next training begins; all else is left behind.

    Args:
        method: the recipe.
        model: the bare sequence classifier; its head is changed in place.
        train_pooler: as for `Method.adapt`.
        learn: carries out one phase and returns what it found.
    """
    found = []
    for phase in method.phases():
        with torch.random.fork_rng():  # a resumed run must draw what an undisturbed one draws
            result = learn(phase, phase.method.adapt(copy.deepcopy(model), train_pooler))
        found.append(result)
        gc.collect()  # hooks and closures tie an adapted model into cycles, and it may be large
        for name, value in method._head(anatomy(model), train_pooler).items():
            if name in result:
                value.data.copy_(result[name])
    return method.choose(model, anatomy(model), found)


def untrained(phase: Phase, adaptation: Adaptation) -> Mapping[str, Tensor]:
    """Stand for a phase where only names and shapes matter."""
    if isinstance(phase, Training):
        return adaptation.task_state()
    return {name: value.detach() for name, value in adaptation.trainable.items()}
