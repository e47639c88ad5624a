"""The one training loop.

It knows a task by its declaration and encoded splits, and a method by its `Adaptation`. Everything that
decides the losses is in the arguments and the seed; everything that a killed run needs is in its
checkpoint.
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
from gluelamp.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs, evaluate_splits
from gluelamp.training.graphs import GraphedPasses
from gluelamp.training.learner import Learner, Profile
from gluelamp.training.passes import Passes, SinglePasses, StackedPasses
from gluelamp.training.precision import MasterWeights, products

_log = logging.getLogger(__name__)
_LOSSES_BETWEEN_CHECKS = 50  # reading a loss waits for the device


class Tracker(Protocol):
    """Where metrics are shown while a run goes on."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take some values at a step."""


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
    """What training gave one profile.

    Args:
        progress: losses, history and the number of the best evaluation.
        outputs: the head's outputs per validation split, for ``best`` and ``last``.
        speed: rates of the training steps, of all profiles that were trained together.
        memory: peak memory, likewise.
        error: why the profile's training ended before its time, if it did.
    """

    progress: Progress
    outputs: dict[str, Outputs]
    speed: dict[str, Any]
    memory: dict[str, Any]
    error: str | None = None


class Trainer:
    """Trains one adaptation on one task or on a mixture of tasks; or several, each for its profile.

    Args:
        adaptation: in fp32, on the CPU; its model is moved and cast.
        task: the declaration.
        profiles: what each set of values learns from. Of several, each starts from the values of the
            adaptation unless it brings its own, and its gradients and steps are as if it were alone.
        config: the knobs.
        seed: of the dropout masks, which several profiles draw from one stream.
        folder: takes the checkpoint.
        bound_to: what the task states are bound to; see `gluelamp.methods.storage.provenance`.
        tracker: shown each evaluation, if there is one.
        continue_on_divergence: whether the other profiles are trained on if one diverges; its outcome holds
            the reason. If False, the run ends.

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
        bound_to: Mapping[str, str],
        tracker: Tracker | None = None,
        continue_on_divergence: bool = False,
    ) -> None:
        self.adaptation, self.task, self.config = adaptation, task, config
        self.folder, self.bound_to, self.tracker = folder, bound_to, tracker
        self.continue_on_divergence = continue_on_divergence
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.precision, self.device)
        self.model = adaptation.model
        self.dropout = install_dropout(self.model, seed)
        self.model.to(self.device)  # type: ignore[arg-type]  # the decorated method loses its signature
        values = adaptation.trainable | adaptation.head
        self.weights = MasterWeights(self.model, values.values(), self.dtype)
        starts = [self._first(profile, list(values), len(profiles)) for profile in profiles]
        of_method = len(adaptation.trainable)
        self.learners = [
            Learner(profile, start, of_method, config)
            for profile, start in zip(profiles, starts, strict=True)
        ]
        self.eager: Passes = (
            SinglePasses(adaptation, task, self.weights, config)
            if len(profiles) == 1
            else StackedPasses(adaptation, task, self.learners, config)
        )
        self.passes = GraphedPasses(self.eager) if config.graphs else self.eager
        self.passes.publish()
        self.errors: dict[int, str] = {}
        """By number of the learner, why its training ended before its time."""
        self._started = 0.0

    def _first(self, profile: Profile, names: list[str], profiles: int) -> list[Tensor]:
        """Return a profile's first values: the model's own for a single profile, copies for several."""
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
            DivergedError: if a loss or an output is not finite and the run does not go on; the checkpoint
                before it stays.
        """
        reset_peak_memory(self.device)
        self._resume()
        self.model.train()
        every_token = self.adaptation.needs_every_token
        tokens = nullcontext() if every_token else first_token_only(self.model)
        with tokens, products(self.dtype, self.device):
            self._started = time.perf_counter()
            while active := self._active():
                self._step(active)
            memory = peak_memory(self.device)  # first: what counts operations and rates takes memory too
            speed = self._speed()
        return [
            Outcome(learner.progress, learner.outputs, speed, memory, self.errors.get(number))
            for number, learner in enumerate(self.learners)
        ]

    def _active(self) -> list[Learner]:
        return [learner for learner in self.learners if not learner.progress.finished]

    def _step(self, active: list[Learner]) -> None:
        batches = [learner.next_batch() for learner in active]
        losses = self.passes.backward(active, batches)
        for learner, batch, loss in zip(active, batches, losses, strict=True):
            learner.step(batch, loss)
        self.passes.publish()
        due = [learner for learner in active if learner.evaluates_now]
        saves = due == active or active[0].progress.step % self.config.checkpoint_steps == 0
        if due or saves or active[0].waiting_losses >= _LOSSES_BETWEEN_CHECKS:
            self._look_at_losses(active)
        if due or saves:
            self._stop_clock(active)
            self._evaluate([learner for learner in due if not learner.progress.finished])
            if saves:
                self._checkpoint()
            self._started = time.perf_counter()

    def _stop_clock(self, active: list[Learner]) -> None:
        seconds = time.perf_counter() - self._started
        for learner in active:
            learner.progress.seconds += seconds

    def _look_at_losses(self, active: list[Learner]) -> None:
        for learner in active:
            if problem := learner.take_losses():
                self._give_up(learner, problem)

    def _give_up(self, learner: Learner, problem: str) -> None:
        message = (
            f"{problem} Lower trainer.learning_rate (of a phase before the method's own training: "
            "method.first_learning_rate), or train with trainer.precision=fp32."
        )
        if not self.continue_on_divergence:
            raise DivergedError(message, learner.progress.history)
        self.errors[self.learners.index(learner)] = message
        learner.progress.finished = True

    def _evaluate(self, due: list[Learner]) -> None:
        for learner, outputs in zip(due, self.passes.outputs(due) if due else [], strict=True):
            if all(np.isfinite(values).all() for values in outputs.values()):
                self._take_evaluation(learner, outputs)
            else:
                step = learner.progress.step
                self._give_up(learner, f"The model's outputs after step {step} are not finite.")

    def _take_evaluation(self, learner: Learner, outputs: Outputs) -> None:
        metrics = evaluate_splits(self.task, learner.profile.validation, outputs)
        progress, main = learner.progress, self.task.main_metric
        sign = -1 if self.task.lower_is_better else 1
        best = progress.history[progress.best][main] if progress.best >= 0 else None
        is_best = best is None or sign * metrics[main] > sign * best
        entry = learner.take_evaluation(outputs, metrics, is_best)
        if self.tracker is not None:
            self.tracker.log(progress.step, entry)
        for name in ["best"] * is_best + ["last"] * progress.finished:
            self._save_state(learner, name)

    def _save_state(self, learner: Learner, name: str) -> None:
        with self.weights.exposed(learner.masters):
            path = learner.profile.folder / f"{name}.safetensors"
            save_task_state(path, self.adaptation, self.bound_to)

    def _checkpoint(self) -> None:
        random = {
            "torch": torch.get_rng_state(),
            "dropout": self.dropout.state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }
        saved = {
            "learners": [
                {"progress": asdict(learner.progress), **learner.state()} for learner in self.learners
            ],
            "errors": self.errors,
            "random": random,
        }
        save_checkpoint(self.folder / "checkpoint.pt", saved)

    def _resume(self) -> None:
        saved = load_checkpoint(self.folder / "checkpoint.pt")
        if saved is None:
            return
        for learner, state in zip(self.learners, saved["learners"], strict=True):
            learner.load_state(Progress(**state["progress"]), state)
        self.errors = saved["errors"]
        self.passes.publish()
        torch.set_rng_state(saved["random"]["torch"])
        self.dropout.load_state(saved["random"]["dropout"])
        if self.device.type == "cuda" and saved["random"]["cuda"] is not None:  # None: it began on a CPU
            torch.cuda.set_rng_state(saved["random"]["cuda"], self.device)
        _log.info("resuming at step %d", max(learner.progress.step for learner in self.learners))

    def _speed(self) -> dict[str, Any]:
        flops_per_token = self._flops_per_token()
        done = [learner.progress for learner in self.learners]
        seconds = max(1e-9, *(progress.seconds for progress in done))
        tokens = sum(progress.tokens for progress in done)
        rows = [
            learner.progress.step / learner.steps_per_epoch * len(learner.profile.train)
            for learner in self.learners
        ]
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
        """Operations of a training step for each of its tokens, counted apart from the timed steps.

        On rows of one length, the most frequent: products of padding are none that the model needs.
        """
        rows = self.learners[0].profile.train
        examples = np.flatnonzero(rows.lengths == np.bincount(rows.lengths).argmax())
        examples = examples[: self.config.batch_size]
        with FlopCounterMode(display=False) as counter:
            self.eager.backward(self.learners[:1], [examples])
        self.model.zero_grad(set_to_none=True)
        return counter.get_total_flops() / int(rows.lengths[examples].sum())
