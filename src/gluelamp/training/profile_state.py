"""One profile in training: its data, its trained values, their optimiser and its progress."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.batches import training_order
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut

_RECENT = 20  # steps whose mean loss is shown


@dataclass(frozen=True)
class Rates:
    """Peak learning rates of the method's values and of the head."""

    method: float
    head: float

    @classmethod
    def from_config(cls, config: TrainerConfig) -> Rates:
        """Return the rates of a run; the head has the method's rate unless the config sets its own."""
        return cls(config.learning_rate, config.head_learning_rate or config.learning_rate)


@dataclass(frozen=True)
class Profile:
    """The data that one set of values is trained on, and where the values are stored.

    Args:
        train: the training rows.
        validation: the validation splits; the first one selects the best evaluation.
        rates: peak learning rates.
        seed: of the order of examples.
        folder: where the task states ``best`` and ``last`` are written.
        start: initial values by full name; those of the adaptation if None.
        held_out: tracks the evaluations for a cross-fitted score, if one is wanted.
    """

    train: EncodedSplit
    validation: dict[str, EncodedSplit]
    rates: Rates
    seed: int
    folder: Path
    start: Mapping[str, Tensor] | None = None
    held_out: HeldOut | None = None

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the optimiser steps in one pass over the training rows."""
        return math.ceil(len(self.train) / batch_size)


@dataclass
class Progress:
    """How far training is, and its losses and evaluations so far.

    Args:
        epoch: the current epoch, counted from 0.
        batch: finished batches in it.
        step: finished optimiser steps.
        losses: the loss of each step.
        history: one entry for each evaluation.
        best: the index of the best evaluation in ``history``.
        seconds: training time so far, without evaluations.
        tokens: tokens trained on so far, without padding.
        finished: whether training has ended.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0
    tokens: int = 0
    finished: bool = False


class ProfileState:
    """The values of one profile in training, with their optimiser, schedule and progress.

    Args:
        profile: the data and where values are stored.
        masters: the trained values in fp32, first the method's, then the head's.
        method_count: how many of them are the method's.
        config: the options.
    """

    def __init__(
        self, profile: Profile, masters: Sequence[Tensor], method_count: int, config: TrainerConfig
    ) -> None:
        self.profile, self.masters, self.config = profile, list(masters), config
        self.method_count = method_count
        self.steps_per_epoch = profile.steps_per_epoch(config.batch_size)
        self.optimizer, self.schedule = self._optimizer()
        self.progress = Progress()
        self.outputs: dict[str, Outputs] = {}
        self._unread: list[Tensor] = []
        self._order: tuple[int, list[np.ndarray]] = (-1, [])

    def next_batch(self) -> np.ndarray:
        """Return the indices of the examples of the next step."""
        progress, config = self.progress, self.config
        # The order of one epoch is computed once; a resumed run computes that of its current epoch again.
        if self._order[0] != progress.epoch:
            lengths, seed = self.profile.train.lengths, self.profile.seed
            order = training_order(lengths, config.batch_size, config.bucket_batches, seed, progress.epoch)
            self._order = progress.epoch, order
        return self._order[1][progress.batch]

    def step(self, examples: np.ndarray, loss: Tensor) -> None:
        """Update the values by their gradients.

        PyTorch does not count a fused step as an in-place write of the values. If they are the model's own,
        the caller must therefore call ``Adaptation.invalidate``.

        Args:
            examples: the batch of the gradients.
            loss: its mean loss, a scalar. It is not read here, so the device need not finish.
        """
        # One norm over the method's values and the head, as in transformers.Trainer.
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.masters, self.config.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        # None instead of zeros: a value that the next pass does not use is then not updated.
        self.optimizer.zero_grad(set_to_none=True)
        self._unread.append(loss)
        progress = self.progress
        progress.step += 1
        progress.batch += 1
        progress.tokens += int(self.profile.train.lengths[examples].sum())
        if progress.batch == self.steps_per_epoch:
            progress.epoch, progress.batch = progress.epoch + 1, 0

    @property
    def is_done(self) -> bool:
        """Whether the last step of the last epoch is finished."""
        return self.progress.step >= self.config.epochs * self.steps_per_epoch

    @property
    def evaluates_now(self) -> bool:
        """Whether an evaluation is due after the last step."""
        every = self.config.eval_steps or self.steps_per_epoch
        return self.progress.step % every == 0 or self.is_done

    @property
    def unread_losses(self) -> int:
        """Number of losses that are not in `progress` yet."""
        return len(self._unread)

    def recent_loss(self) -> float:
        """Return the mean loss of the last steps, at most twenty. It waits for the device."""
        unread = torch.stack(self._unread[-_RECENT:]).tolist() if self._unread else []
        return float(np.mean((self.progress.losses[-_RECENT:] + unread)[-_RECENT:]))

    def read_losses(self) -> str | None:
        """Move the losses of the last steps to `progress`; return an error sentence if one is not finite."""
        # One transfer for all losses: each transfer waits for the device.
        losses = torch.stack(self._unread).tolist() if self._unread else []
        self._unread.clear()
        first = self.progress.step - len(losses) + 1
        for number, loss in enumerate(losses):
            if not math.isfinite(loss):
                return f"The loss of step {first + number} is {loss}."
        self.progress.losses += losses
        return None

    def add_evaluation(self, outputs: Outputs, metrics: Mapping[str, float], is_best: bool) -> dict[str, Any]:
        """Add an evaluation to the history and return its entry.

        Args:
            outputs: of the validation splits.
            metrics: of these outputs.
            is_best: whether it is better than all evaluations before.
        """
        progress = self.progress
        # The training loss of an entry is the mean over the steps since the evaluation before.
        since = progress.history[-1]["step"] if progress.history else 0
        entry = {
            "epoch": progress.step / self.steps_per_epoch,
            "step": progress.step,
            "train_loss": float(np.mean(progress.losses[since:])),
            **metrics,
        }
        progress.history.append(entry)
        self.outputs["last"] = outputs
        if self.profile.held_out is not None:
            self.profile.held_out.update(len(progress.history) - 1, outputs)
        if is_best:
            progress.best = len(progress.history) - 1
            self.outputs["best"] = outputs
        # Patience counts evaluations, not epochs, and starts again with each better one.
        patience = self.config.patience
        waited = len(progress.history) - 1 - progress.best
        progress.finished = self.is_done or (patience is not None and waited >= patience)
        return entry

    def live_values(self) -> int:
        """Return how many of the method's values, without the head, a gradient other than zero ever reached.

        Other values still are what they were at the start, up to weight decay: the embeddings of tokens that
        no training row has, for example.
        """
        # AdamW's second moment is a sum of squared gradients, and a checkpoint has it. A value that the
        # backward pass never reached has no state.
        states = (self.optimizer.state.get(master, {}) for master in self.masters[: self.method_count])
        return sum(int(state["exp_avg_sq"].count_nonzero()) for state in states if state)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores of this profile, except its progress."""
        return {
            "masters": [master.detach() for master in self.masters],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "outputs": {
                selection: {name: torch.from_numpy(value) for name, value in outputs.items()}
                for selection, outputs in self.outputs.items()
            },
            "held_out": self.profile.held_out.state_dict() if self.profile.held_out is not None else [],
        }

    def load_state_dict(self, progress: Progress, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.progress = progress
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.outputs = {
            selection: {name: value.numpy() for name, value in outputs.items()}
            for selection, outputs in state["outputs"].items()
        }
        if self.profile.held_out is not None:
            self.profile.held_out.load_state_dict(state["held_out"])

    def _optimizer(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        from transformers import get_scheduler

        config, rates = self.config, self.profile.rates
        groups = [
            {"params": self.masters[: self.method_count], "lr": rates.method},
            {"params": self.masters[self.method_count :], "lr": rates.head},
        ]
        # Fused: one kernel for all values. PEFT methods have many small tensors, and a step of some hundred
        # kernels would take longer than their arithmetic.
        optimizer = torch.optim.AdamW(
            # AdamW refuses an empty group; head-only training has no values of a method.
            [group for group in groups if group["params"]],
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        steps = config.epochs * self.steps_per_epoch
        # A started step of warm-up counts as a full one.
        warmup = math.ceil(config.warmup_ratio * steps)
        return optimizer, get_scheduler(config.schedule, optimizer, warmup, steps)
