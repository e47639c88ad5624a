"""Forward and backward passes: of one profile through the model as it is, or of many at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gluelamp.backbones import task_ids
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation, one_pass
from gluelamp.tasks.encoding import EncodedSplit, concatenated
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.batches import Batch, collate
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs, predict
from gluelamp.training.learner import Learner
from gluelamp.training.loss import row_losses, task_loss
from gluelamp.training.precision import MasterWeights
from gluelamp.training.stacked import Rows, StackedValues


class Passes(Protocol):
    """What the training loop asks of a model."""

    def backward(self, learners: Sequence[Learner], batches: Sequence[np.ndarray]) -> Sequence[Tensor]:
        """Put the gradients of each learner's batch on its values; return its mean loss."""

    def publish(self) -> None:
        """Let the next pass see the values as they are now."""

    def outputs(self, learners: Sequence[Learner]) -> list[Outputs]:
        """Return the head's outputs for each learner's validation splits."""


class SinglePasses:
    """One learner, whose values are the model's own.

    Args:
        adaptation: on its device.
        task: the declaration.
        weights: the learner's values.
        config: the knobs.
    """

    def __init__(
        self, adaptation: Adaptation, task: Task | Mixture, weights: MasterWeights, config: TrainerConfig
    ) -> None:
        self.adaptation, self.task, self.weights, self.config = adaptation, task, weights, config
        self.model = adaptation.model

    def backward(self, learners: Sequence[Learner], batches: Sequence[np.ndarray]) -> list[Tensor]:
        """Put the gradients of the one batch on the values; return its loss."""
        return [self.gradients(*collate(learners[0].profile.train, batches[0], self.model.device))]

    def gradients(self, inputs: Batch, labels: Tensor) -> Tensor:
        """Put the gradients of a batch as tensors on the values; return its mean loss."""

        def forward() -> Tensor:
            return self.model(**inputs).logits.float()

        loss = self.adaptation.objective(forward, task_loss(self.task, labels, inputs.get(task_ids.KEY)))
        loss.backward()
        self.weights.gather_gradients()
        return loss.detach()

    def publish(self) -> None:
        """Copy the values into the model."""
        self.weights.publish()

    def outputs(self, learners: Sequence[Learner]) -> list[Outputs]:
        """Return the head's outputs for the validation splits."""
        splits = learners[0].profile.validation.items()
        size = self.config.eval_batch_size
        return [{name: predict(self.model, split, size, self.model.device) for name, split in splits}]


class StackedPasses:
    """Many learners at once over one frozen backbone; see `gluelamp.training.stacked`.

    The rows of all learners are sorted by length and cut into passes of about as many tokens, so that
    little is padded and memory does not grow with the number of learners, but for their values.

    Args:
        adaptation: on its device; its own values are not read.
        task: the declaration.
        learners: all that will ever pass together.
        config: the knobs.

    Raises:
        InputError: if the method or the task does not allow it.
    """

    def __init__(
        self, adaptation: Adaptation, task: Task | Mixture, learners: Sequence[Learner], config: TrainerConfig
    ) -> None:
        self.stacked = stack(adaptation, task)
        assert isinstance(task, Task)  # no mixture passed
        self.task, self.config, self.model = task, config, adaptation.model
        values = adaptation.trainable | adaptation.head
        self.names = list(values)
        self.dtypes = [value.dtype for value in values.values()]
        self.numbers = {id(learner): number for number, learner in enumerate(learners)}
        self.train = _Joined([learner.profile.train for learner in learners])
        self.validation = {
            name: _Joined([learner.profile.validation[name] for learner in learners])
            for name in learners[0].profile.validation
        }

    def backward(self, learners: Sequence[Learner], batches: Sequence[np.ndarray]) -> Sequence[Tensor]:
        """Put the gradients of each learner's batch on its values; return its mean loss."""
        values = [torch.stack(found).detach().requires_grad_() for found in self._by_name(learners)]
        losses = torch.zeros(len(learners), device=self.model.device)
        shares = torch.tensor([1 / len(batch) for batch in batches], device=self.model.device)
        for owner, examples in self._passes(self.train, learners, batches):
            inputs, labels = collate(self.train.split, examples, self.model.device)
            outputs = self._forward(values, owner, inputs)
            share = row_losses(self.task, outputs, labels) * shares[owner]
            share.sum().backward()
            losses.index_add_(0, owner, share.detach())
        for value, masters in zip(values, self._by_name(learners), strict=True):
            if value.grad is not None:  # as alone: what takes no part is not moved
                for master, gradient in zip(masters, value.grad.unbind(), strict=True):
                    master.grad = gradient
        return losses.unbind()

    def publish(self) -> None:
        """Nothing: each pass stacks the values anew."""

    @torch.no_grad()
    def outputs(self, learners: Sequence[Learner]) -> list[Outputs]:
        """Return the head's outputs for each learner's validation splits."""
        self.model.eval()
        values = [torch.stack(found) for found in self._by_name(learners)]
        found: list[Outputs] = [{} for _ in learners]
        for name, joined in self.validation.items():
            own = [np.arange(len(learner.profile.validation[name])) for learner in learners]
            collected = np.empty((len(joined.split), int(self.model.config.num_labels or 1)), np.float32)
            for owner, examples in self._passes(joined, learners, own):
                inputs, _ = collate(joined.split, examples, self.model.device)
                collected[examples] = self._forward(values, owner, inputs).cpu().numpy()
            for learner, outputs, rows in zip(learners, found, own, strict=True):
                outputs[name] = collected[joined.starts[self.numbers[id(learner)]] + rows]
        self.model.train()
        return found

    def _forward(self, values: list[Tensor], owner: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        present, local = owner.unique(return_inverse=True)
        seen = {
            name: value.index_select(0, present).to(dtype)
            for name, value, dtype in zip(self.names, values, self.dtypes, strict=True)
        }
        with self.stacked.rows(seen, Rows.of(local, len(present))):
            return self.model(**inputs).logits.float()

    def _by_name(self, learners: Sequence[Learner]) -> list[tuple[Tensor, ...]]:
        return list(zip(*(learner.masters for learner in learners), strict=True))

    def _passes(
        self, joined: _Joined, learners: Sequence[Learner], batches: Sequence[np.ndarray]
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Cut some rows of each learner into passes: whose each row is, and its number among all rows."""
        starts = [joined.starts[self.numbers[id(learner)]] for learner in learners]
        owner = np.repeat(np.arange(len(learners)), [len(batch) for batch in batches])
        rows = np.concatenate([start + batch for start, batch in zip(starts, batches, strict=True)])
        lengths = joined.split.lengths[rows]
        order = np.argsort(lengths, kind="stable")
        for part in _cut(lengths[order], self.config.pass_tokens):
            chosen = order[part]
            yield torch.from_numpy(owner[chosen]).to(self.model.device), rows[chosen]


def stack(adaptation: Adaptation, task: Task | Mixture) -> StackedValues:
    """Let an adaptation's model compute with the values of several profiles.

    Args:
        adaptation: its model is changed in place.
        task: the declaration.

    Raises:
        InputError: if the method or the task does not allow it.
    """
    if adaptation.objective is not one_pass or adaptation.selection or isinstance(task, Mixture):
        raise InputError(
            "Profiles can be trained together only on one task, with a method whose loss is the "
            "task's own and that chooses nothing for each task. Take trainer.profiles_per_pass=1."
        )
    return StackedValues(adaptation)


class _Joined:
    """The rows of several splits one after another, and where each split starts."""

    def __init__(self, splits: Sequence[EncodedSplit]) -> None:
        self.split = concatenated(splits)
        self.starts = list(accumulate((len(split) for split in splits), initial=0))


def _cut(lengths: np.ndarray, tokens: int) -> Iterator[slice]:
    """Cut rows of rising length into parts that hold at most so many tokens, padding counted."""
    start = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > tokens:
            yield slice(start, end)
            start = end
