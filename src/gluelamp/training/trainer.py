"""The training loop.

It needs a task's declaration and encoded splits, and a method's `Adaptation`. The losses depend on the
arguments and the seed alone. The checkpoint holds everything that a killed run needs to continue.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gluelamp.backbones.dropout import install_dropout
from gluelamp.backbones.first_token import first_token_only
from gluelamp.hardware import choose_device, choose_dtype, matmul_rate, peak_memory, reset_peak_memory
from gluelamp.methods.base import Adaptation
from gluelamp.methods.storage import save_task_state
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.checkpoint import (
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs, evaluate_splits
from gluelamp.training.graphs import GraphedPasses
from gluelamp.training.passes import Passes, SinglePasses, StackedPasses
from gluelamp.training.precision import MasterWeights, matmul_context
from gluelamp.training.profile_state import Profile, ProfileState, Progress

_log = logging.getLogger(__name__)
_LOSSES_BETWEEN_CHECKS = 50  # reading a loss waits for the device


class Tracker(Protocol):
    """Observes a run while it trains."""

    def step(self, trainer: Trainer) -> None:
        """Take note of an optimiser step. It must not read a loss each time: that waits for the device."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take note of an evaluation after a step."""


class DivergedError(RuntimeError):
    """A loss or an output is no longer a finite number.

    Args:
        message: what was not finite, and what to do.
        history: the evaluations before.
    """

    def __init__(self, message: str, history: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.history = history


@dataclass(frozen=True)
class Outcome:
    """The result of training one profile.

    Args:
        progress: losses, history and the index of the best evaluation.
        outputs: the head's outputs for each validation split, for ``best`` and ``last``.
        speed: rates of the training steps, of all profiles that were trained together.
        memory: peak memory of all profiles that were trained together.
        live: how many of the method's values a gradient ever reached; see `ProfileState.live_values`.
        error: why the profile's training ended early, if it did.
    """

    progress: Progress
    outputs: dict[str, Outputs]
    speed: dict[str, Any]
    memory: dict[str, Any]
    live: int
    error: str | None = None


class Trainer:
    """Trains one adaptation on a task or a mixture of tasks, or the values of several profiles together.

    Args:
        adaptation: in fp32, on the CPU; its model is moved and cast.
        task: the declaration.
        profiles: one for each set of values. Each of several profiles starts from the values of the
            adaptation or from its own; its gradients and steps are as if it were trained alone.
        config: the options.
        seed: of the dropout masks; several profiles use one stream.
        folder: where the checkpoint is written.
        provenance: written into the task states; from `gluelamp.methods.storage.provenance`.
        trackers: observe each step and each evaluation.
        continue_on_divergence: whether the training of the other profiles continues if one diverges; its
            outcome holds the reason. If False, the run ends.

    Raises:
        InputError: if there are several profiles and the method or task does not allow it, or graphs
            without a GPU.
    """

    def __init__(
        self,
        adaptation: Adaptation,
        task: Task | Mixture,
        profiles: Sequence[Profile],
        config: TrainerConfig,
        seed: int,
        folder: Path,
        provenance: Mapping[str, str],
        trackers: Sequence[Tracker] = (),
        continue_on_divergence: bool = False,
    ) -> None:
        self.adaptation, self.task, self.config = adaptation, task, config
        self.folder, self.provenance, self.trackers = folder, provenance, trackers
        self.continue_on_divergence = continue_on_divergence
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.precision, self.device)
        self.model = adaptation.model
        # Dropout masks have a random stream of their own, which the checkpoint stores.
        self.dropout = install_dropout(self.model, seed)
        self.model.to(self.device)  # type: ignore[arg-type]  # `to` is decorated
        values = adaptation.trainable | adaptation.head
        self.weights = MasterWeights(self.model, values.values(), self.dtype)
        starts = [self._initial_values(profile, list(values), len(profiles)) for profile in profiles]
        method_count = len(adaptation.trainable)
        self.states = [
            ProfileState(profile, start, method_count, config)
            for profile, start in zip(profiles, starts, strict=True)
        ]
        self.eager: Passes = (
            SinglePasses(adaptation, task, self.weights, config)
            if len(profiles) == 1
            else StackedPasses(adaptation, task, self.states, config)
        )
        self.passes = GraphedPasses(self.eager) if config.graphs else self.eager
        # A profile's own initial values are in the masters only, so far.
        self.passes.sync_weights()
        self.errors: dict[int, str] = {}
        """By index of the profile, why its training ended early."""
        self._started = 0.0

    def _initial_values(self, profile: Profile, names: list[str], profiles: int) -> list[Tensor]:
        """Return a profile's initial values: the model's own for a single profile, copies for several."""
        masters = self.weights.masters
        if profiles > 1:
            masters = [master.detach().clone() for master in masters]
        if profile.start is not None:
            with torch.no_grad():
                for name, master in zip(names, masters, strict=True):
                    master.copy_(profile.start[name])
        return masters

    def run(self) -> list[Outcome]:
        """Train to the end, from the checkpoint if there is one; return the outcome of each profile.

        Raises:
            DivergedError: if a loss or an output is not finite and ``continue_on_divergence`` is False. The
                last checkpoint stays.
            InputError: if the checkpoint is damaged.
        """
        reset_peak_memory(self.device)
        self._resume()
        self.model.train()
        # The head reads the first token only, so the last block computes no other unless a method needs it.
        every_token = self.adaptation.needs_every_token
        last_block = nullcontext() if every_token else first_token_only(self.model)
        with last_block, matmul_context(self.dtype, self.device):
            self._started = time.perf_counter()
            while active := [state for state in self.states if not state.progress.finished]:
                self._step(active)
            memory = peak_memory(self.device)  # before `_speed`, which uses memory of its own
            speed = self._speed()
        return [
            Outcome(
                state.progress, state.outputs, speed, memory, state.live_values(), self.errors.get(number)
            )
            for number, state in enumerate(self.states)
        ]

    def _step(self, active: list[ProfileState]) -> None:
        batches = [state.next_batch() for state in active]
        # The passes set all gradients; each profile then makes a step of its own.
        losses = self.passes.backward(active, batches)
        for state, batch, loss in zip(active, batches, losses, strict=True):
            state.step(batch, loss)
        self.passes.sync_weights()
        for tracker in self.trackers:
            tracker.step(self)
        due = [state for state in active if state.evaluates_now]
        # Profiles with fewer rows have shorter epochs, so their evaluations fall on different steps. A
        # checkpoint holds all profiles; written at each evaluation, it would take longer than training.
        saves = due == active or active[0].progress.step % self.config.checkpoint_steps == 0
        if due or saves or active[0].unread_losses >= _LOSSES_BETWEEN_CHECKS:
            self._read_losses(active)
        if due or saves:
            self._stop_clock(active)
            self._evaluate([state for state in due if not state.progress.finished])
            if saves:
                self._save_checkpoint()
            self._started = time.perf_counter()

    def _stop_clock(self, active: list[ProfileState]) -> None:
        seconds = time.perf_counter() - self._started
        for state in active:
            state.progress.seconds += seconds

    def _read_losses(self, active: list[ProfileState]) -> None:
        for state in active:
            if problem := state.read_losses():
                self._stop_diverged(state, problem)

    def _stop_diverged(self, state: ProfileState, problem: str) -> None:
        message = (
            f"{problem} Lower trainer.learning_rate (in a preliminary phase: method.first_learning_rate), or "
            "set trainer.precision=fp32."
        )
        if not self.continue_on_divergence:
            raise DivergedError(message, state.progress.history)
        self.errors[self.states.index(state)] = message
        state.progress.finished = True

    def _evaluate(self, due: list[ProfileState]) -> None:
        for state, outputs in zip(due, self.passes.outputs(due) if due else [], strict=True):
            if all(np.isfinite(values).all() for values in outputs.values()):
                self._add_evaluation(state, outputs)
            else:
                step = state.progress.step
                self._stop_diverged(state, f"The model's outputs after step {step} are not finite.")

    def _add_evaluation(self, state: ProfileState, outputs: Outputs) -> None:
        metrics = evaluate_splits(self.task, state.profile.validation, outputs)
        # Of equal evaluations the first one is the best.
        progress, main = state.progress, self.task.main_metric
        sign = -1 if self.task.lower_is_better else 1
        best = progress.history[progress.best][main] if progress.best >= 0 else None
        is_best = best is None or sign * metrics[main] > sign * best
        entry = state.add_evaluation(outputs, metrics, is_best)
        for tracker in self.trackers:
            tracker.log(progress.step, entry)
        # Before the checkpoint: a run that is killed in between evaluates again and writes the same files.
        due = {"best": is_best, "last": progress.finished}
        for name in [name for name, is_due in due.items() if is_due]:
            with self.weights.fp32_values(state.masters):
                path = state.profile.folder / f"{name}.safetensors"
                save_task_state(path, self.adaptation, self.provenance)

    def _save_checkpoint(self) -> None:
        saved = {
            "profiles": [{"progress": asdict(state.progress), **state.state_dict()} for state in self.states],
            "errors": self.errors,
            "random": random_state(self.dropout, self.device),
        }
        save_checkpoint(self.folder / "checkpoint.pt", saved)

    def _resume(self) -> None:
        saved = load_checkpoint(self.folder / "checkpoint.pt")
        if saved is None:
            return
        for state, content in zip(self.states, saved["profiles"], strict=True):
            state.load_state_dict(Progress(**content["progress"]), content)
        self.errors = saved["errors"]
        self.passes.sync_weights()
        restore_random_state(saved["random"], self.dropout, self.device)
        _log.info("resuming at step %d", max(state.progress.step for state in self.states))

    def _speed(self) -> dict[str, Any]:
        flops_per_token = self._flops_per_token()
        done = [state.progress for state in self.states]
        # Profiles are trained at the same time: the one that was trained longest has the time of all.
        seconds = max(1e-9, *(progress.seconds for progress in done))
        tokens = sum(progress.tokens for progress in done)
        rows = [
            state.progress.step / state.steps_per_epoch * len(state.profile.train) for state in self.states
        ]
        # Utilisation: the model's operations, compared with the matrix products that the device can do.
        rate = matmul_rate(self.device, self.dtype)
        return {
            "train_seconds": seconds,
            "samples_per_second": sum(rows) / seconds,
            "tokens_per_second": tokens / seconds,
            "model_flops_per_token": flops_per_token,
            "model_flops_per_second": flops_per_token * tokens / seconds,
            "matmul_flops_per_second": rate,
            "utilisation": flops_per_token * tokens / seconds / rate,
        }

    def _flops_per_token(self) -> float:
        """Return the operations of a training step for each of its tokens, counted after the timed steps.

        The step has rows of one length, the most frequent one, so that no products of padding are counted.
        """
        rows = self.states[0].profile.train
        examples = np.flatnonzero(rows.lengths == np.bincount(rows.lengths).argmax())
        examples = examples[: self.config.batch_size]
        with FlopCounterMode(display=False) as counter:
            self.eager.backward(self.states[:1], [examples])
        self.model.zero_grad(set_to_none=True)
        return counter.get_total_flops() / int(rows.lengths[examples].sum())
