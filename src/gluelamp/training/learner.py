"""One profile on its way: its trained values, their optimiser, and how far they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.batches import training_order
from gluelamp.training.checkpoint import Progress
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut


@dataclass(frozen=True)
class Rates:
    """Peak learning rates: the method's values, and the head's."""

    method: float
    head: float

    @classmethod
    def from_config(cls, config: TrainerConfig) -> Rates:
        """Return the rates of a run; the head has the method's rate unless the config sets its own."""
        return cls(config.learning_rate, config.head_learning_rate or config.learning_rate)


@dataclass(frozen=True)
class Profile:
    """What one set of trained values learns from, and where it is kept.

    Args:
        train: the training rows.
        validation: the validation splits, first the one that selects the best evaluation.
        rates: peak learning rates.
        seed: of the order of examples.
        folder: takes the task states ``best`` and ``last``.
        start: first values by full name; those of the adaptation if None.
        held_out: follows the evaluations, if a score on rows that chose nothing is wanted.
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


class Learner:
    """One profile's values in training.

    Args:
        profile: what it learns from.
        masters: its trained values in fp32, the method's first, then the head's.
        method_count: how many of them are the method's.
        config: the knobs.
    """

    def __init__(
        self, profile: Profile, masters: Sequence[Tensor], method_count: int, config: TrainerConfig
    ) -> None:
        self.profile, self.masters, self.config = profile, list(masters), config
        self.steps_per_epoch = profile.steps_per_epoch(config.batch_size)
        self.optimizer, self.schedule = self._optimizer(method_count)
        self.progress = Progress()
        self.outputs: dict[str, Outputs] = {}
        self._pending: list[Tensor] = []
        self._order: tuple[int, list[np.ndarray]] = (-1, [])

    def next_batch(self) -> np.ndarray:
        """Return the numbers of the examples whose turn it is."""
        progress, config = self.progress, self.config
        if self._order[0] != progress.epoch:
            rows, seed = self.profile.train.lengths, self.profile.seed
            order = training_order(rows, config.batch_size, config.bucket_batches, seed, progress.epoch)
            self._order = progress.epoch, order
        return self._order[1][progress.batch]

    def step(self, examples: np.ndarray, loss: Tensor) -> None:
        """Move the values by the gradients that lie on them.

        Args:
            examples: the batch that gave the gradients.
            loss: its mean loss, a scalar, which is not waited for.
        """
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.masters, self.config.max_grad_norm)
        self.optimizer.step()
        # A fused step does not say that it wrote, and sparse methods go by a tensor's version.
        torch.autograd.graph.increment_version(self.masters)
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._pending.append(loss)
        progress = self.progress
        progress.step += 1
        progress.batch += 1
        progress.tokens += int(self.profile.train.lengths[examples].sum())
        if progress.batch == self.steps_per_epoch:
            progress.epoch, progress.batch = progress.epoch + 1, 0

    @property
    def is_done(self) -> bool:
        """Whether the last step of the last epoch is behind."""
        return self.progress.step >= self.config.epochs * self.steps_per_epoch

    @property
    def evaluates_now(self) -> bool:
        """Whether an evaluation is due after the step that was made."""
        every = self.config.eval_steps or self.steps_per_epoch
        return self.progress.step % every == 0 or self.is_done

    @property
    def waiting_losses(self) -> int:
        """Losses that were not looked at yet."""
        return len(self._pending)

    def take_losses(self) -> str | None:
        """Look at the losses of the last steps; return a sentence if one is not finite."""
        losses = torch.stack(self._pending).tolist() if self._pending else []
        self._pending.clear()
        first = self.progress.step - len(losses) + 1
        for number, loss in enumerate(losses):
            if not math.isfinite(loss):
                return f"The loss of step {first + number} is {loss}."
        self.progress.losses += losses
        return None

    def take_evaluation(
        self, outputs: Outputs, metrics: Mapping[str, float], is_best: bool
    ) -> dict[str, Any]:
        """Write an evaluation into the history and return its entry.

        Args:
            outputs: of the validation splits.
            metrics: of these.
            is_best: whether no evaluation before was as good.
        """
        progress = self.progress
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
            self.profile.held_out.look(len(progress.history) - 1, outputs)
        if is_best:
            progress.best = len(progress.history) - 1
            self.outputs["best"] = outputs
        patience = self.config.patience
        waited = len(progress.history) - 1 - progress.best
        progress.finished = self.is_done or (patience is not None and waited >= patience)
        return entry

    def state(self) -> dict[str, Any]:
        """Return all that a killed run needs of this profile, but its progress."""
        return {
            "masters": [master.detach() for master in self.masters],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "outputs": {
                selection: {name: torch.from_numpy(value) for name, value in outputs.items()}
                for selection, outputs in self.outputs.items()
            },
            "held_out": self.profile.held_out.state() if self.profile.held_out is not None else [],
        }

    def load_state(self, progress: Progress, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
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
            self.profile.held_out.load_state(state["held_out"])

    def _optimizer(
        self, method_count: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        from transformers import get_scheduler

        config, rates = self.config, self.profile.rates
        groups = [
            {"params": self.masters[:method_count], "lr": rates.method},
            {"params": self.masters[method_count:], "lr": rates.head},
        ]
        optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        steps = config.epochs * self.steps_per_epoch
        warmup = math.ceil(config.warmup_ratio * steps)
        return optimizer, get_scheduler(config.schedule, optimizer, warmup, steps)
