"""Forward and backward passes: of one profile through the model itself, or of many profiles at once.

`StackedPasses` trains many profiles over one frozen backbone. Each profile has its own batch, its own values
and its own optimiser; only the passes are joined:

1. The rows of all profiles' batches are sorted by length and cut into passes by tokens. One profile's batch
   is small, so a pass of its own would leave the device idle. Rows of equal length need no padding, and the
   limit on tokens bounds the memory of the activations, however many profiles there are.
2. A pass runs through the backbone as one large batch. Each module with trained values computes each row with
   the values of the row's profile; see `gluelamp.training.stacked`.
3. The gradients are separate without further work. Value p of the stack is used by the rows of profile p
   alone, so entry p of the stack's gradient is the gradient of the losses of these rows. Each row's loss has
   the weight 1 / (rows in its profile's batch), so the sum over all passes is the mean over the batch, as in
   a pass of the profile alone.
"""

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
from gluelamp.training.evaluation import Outputs, predict, row_losses, task_loss
from gluelamp.training.precision import MasterWeights
from gluelamp.training.profile_state import ProfileState
from gluelamp.training.stacked import Rows, StackedValues


class Passes(Protocol):
    """The passes that the training loop needs."""

    def backward(self, states: Sequence[ProfileState], batches: Sequence[np.ndarray]) -> Sequence[Tensor]:
        """Set the gradients of each profile's values from its batch; return the mean loss of each batch."""

    def sync_weights(self) -> None:
        """Make the next pass use the current values."""

    def outputs(self, states: Sequence[ProfileState]) -> list[Outputs]:
        """Return the head's outputs for each profile's validation splits."""


class SinglePasses:
    """Passes of one profile, whose values are the model's own.

    Args:
        adaptation: on its device.
        task: the declaration.
        weights: the profile's values.
        config: the options.
    """

    def __init__(
        self, adaptation: Adaptation, task: Task | Mixture, weights: MasterWeights, config: TrainerConfig
    ) -> None:
        self.adaptation, self.task, self.weights, self.config = adaptation, task, weights, config
        self.model = adaptation.model

    def backward(self, states: Sequence[ProfileState], batches: Sequence[np.ndarray]) -> list[Tensor]:
        """Set the gradients of the values from the one batch; return its loss."""
        return [self.gradients(*collate(states[0].profile.train, batches[0], self.model.device))]

    def gradients(self, inputs: Batch, labels: Tensor) -> Tensor:
        """Set the gradients of the values from a batch of tensors; return its mean loss."""

        def forward() -> Tensor:
            return self.model(**inputs).logits.float()

        loss = self.adaptation.objective(forward, task_loss(self.task, labels, inputs.get(task_ids.KEY)))
        loss.backward()
        self.weights.gather_gradients()
        return loss.detach()

    def sync_weights(self) -> None:
        """Copy the values into the model, and drop what it caches of the values before."""
        self.weights.sync()
        self.adaptation.invalidate()

    def outputs(self, states: Sequence[ProfileState]) -> list[Outputs]:
        """Return the head's outputs for the validation splits."""
        splits = states[0].profile.validation.items()
        size = self.config.eval_batch_size
        return [{name: predict(self.model, split, size, self.model.device) for name, split in splits}]


class StackedPasses:
    """Passes of many profiles at once over one frozen backbone.

    Args:
        adaptation: on its device; its own values are not read.
        task: the declaration.
        states: all profiles that are ever trained together.
        config: the options.

    Raises:
        InputError: if the method or the task does not allow it.
    """

    def __init__(
        self,
        adaptation: Adaptation,
        task: Task | Mixture,
        states: Sequence[ProfileState],
        config: TrainerConfig,
    ) -> None:
        self.stacked = stack(adaptation, task)
        assert isinstance(task, Task)  # `stack` refuses a mixture
        self.task, self.config, self.model = task, config, adaptation.model
        values = adaptation.trainable | adaptation.head
        self.names = list(values)
        self.dtypes = [value.dtype for value in values.values()]
        self.numbers = {id(state): number for number, state in enumerate(states)}
        self.train = _JoinedSplits([state.profile.train for state in states])
        self.validation = {
            name: _JoinedSplits([state.profile.validation[name] for state in states])
            for name in states[0].profile.validation
        }

    def backward(self, states: Sequence[ProfileState], batches: Sequence[np.ndarray]) -> Sequence[Tensor]:
        """Set the gradients of each profile's values from its batch; return the mean loss of each batch."""
        # New autograd inputs, (P, *shape) for each name: `backward` adds up their gradients over all
        # passes, while each pass frees its activations.
        values = [torch.stack(masters).detach().requires_grad_() for masters in self._by_name(states)]
        losses = torch.zeros(len(states), device=self.model.device)
        weights = torch.tensor([1 / len(batch) for batch in batches], device=self.model.device)
        for owner, examples in self._passes(self.train, states, batches):
            inputs, labels = collate(self.train.split, examples, self.model.device)
            outputs = self._forward(values, owner, inputs)
            weighted = row_losses(self.task, outputs, labels) * weights[owner]
            weighted.sum().backward()
            losses.index_add_(0, owner, weighted.detach())
        for value, masters in zip(values, self._by_name(states), strict=True):
            # A value that no pass uses has no gradient, and the optimiser must not update it: with a gradient
            # of zeros, weight decay would change it.
            if value.grad is not None:
                for master, gradient in zip(masters, value.grad.unbind(), strict=True):
                    master.grad = gradient
        return losses.unbind()

    def sync_weights(self) -> None:
        """Do nothing: each pass stacks the current values."""

    @torch.no_grad()
    def outputs(self, states: Sequence[ProfileState]) -> list[Outputs]:
        """Return the head's outputs for each profile's validation splits."""
        self.model.eval()
        values = [torch.stack(masters) for masters in self._by_name(states)]
        results: list[Outputs] = [{} for _ in states]
        # Outputs are collected in the order of the joined rows, and then divided between the profiles.
        for name, joined in self.validation.items():
            own = [np.arange(len(state.profile.validation[name])) for state in states]
            collected = np.empty((len(joined.split), int(self.model.config.num_labels or 1)), np.float32)
            for owner, examples in self._passes(joined, states, own):
                inputs, _ = collate(joined.split, examples, self.model.device)
                collected[examples] = self._forward(values, owner, inputs).cpu().numpy()
            for state, outputs, rows in zip(states, results, own, strict=True):
                outputs[name] = collected[joined.starts[self.numbers[id(state)]] + rows]
        self.model.train()
        return results

    def _forward(self, values: list[Tensor], owner: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        # Only the profiles with a row in this pass: the stacked modules compute every profile that they get.
        present, local = owner.unique(return_inverse=True)
        selected = {
            name: value.index_select(0, present).to(dtype)
            for name, value, dtype in zip(self.names, values, self.dtypes, strict=True)
        }
        with self.stacked.rows(selected, Rows.from_owners(local, len(present))):
            return self.model(**inputs).logits.float()

    def _by_name(self, states: Sequence[ProfileState]) -> list[tuple[Tensor, ...]]:
        return list(zip(*(state.masters for state in states), strict=True))

    def _passes(
        self, joined: _JoinedSplits, states: Sequence[ProfileState], batches: Sequence[np.ndarray]
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Cut a batch of each profile into passes: each row's profile, and its index in the joined rows."""
        # Profiles that have finished are not in `states`, but their rows are still in the joined split.
        starts = [joined.starts[self.numbers[id(state)]] for state in states]
        owner = np.repeat(np.arange(len(states)), [len(batch) for batch in batches])
        rows = np.concatenate([start + batch for start, batch in zip(starts, batches, strict=True)])
        lengths = joined.split.lengths[rows]
        order = np.argsort(lengths, kind="stable")
        for part in _cut(lengths[order], self.config.pass_tokens):
            chosen = order[part]
            yield torch.from_numpy(owner[chosen]).to(self.model.device), rows[chosen]


def stack(adaptation: Adaptation, task: Task | Mixture) -> StackedValues:
    """Make an adaptation's model compute with the values of several profiles.

    Args:
        adaptation: its model is changed in place.
        task: the declaration.

    Raises:
        InputError: if the method or the task does not allow it.
    """
    # A loss of the method's own belongs to a whole batch, but here each row needs a loss. A selection differs
    # between profiles, so their values could not be stacked.
    if adaptation.objective is not one_pass or adaptation.selection or isinstance(task, Mixture):
        raise InputError(
            "Profiles can be trained in one pass only on a single task, with a method whose loss is the "
            "task's own and that selects nothing for each task. Set trainer.profiles_per_pass=1."
        )
    return StackedValues(adaptation)


class _JoinedSplits:
    """The rows of several splits one after another, and the index of each split's first row."""

    def __init__(self, splits: Sequence[EncodedSplit]) -> None:
        self.split = concatenated(splits)
        self.starts = list(accumulate((len(split) for split in splits), initial=0))


def _cut(lengths: np.ndarray, tokens: int) -> Iterator[slice]:
    """Cut rows of rising length into parts of at most so many tokens, padding included."""
    start = 0
    for end in range(1, len(lengths) + 1):
        # The next row is the longest so far, so all rows of the part would be padded to its length.
        if end == len(lengths) or (end + 1 - start) * lengths[end] > tokens:
            yield slice(start, end)
            start = end
