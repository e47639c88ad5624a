"""The one training loop.

It knows a task by its declaration and encoded splits, and a method by its `Adaptation`. Everything that
decides the losses is in the arguments and the seed; everything that a killed run needs is in its
checkpoint.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gluelamp.backbones import task_ids
from gluelamp.backbones.device import choose_device, choose_dtype
from gluelamp.backbones.dropout import install_dropout
from gluelamp.backbones.first_token import first_token_only
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.storage import save_task_state
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.batches import collate, training_order
from gluelamp.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from gluelamp.training.config import TrainerConfig
from gluelamp.training.cost import matmul_rate, peak_memory, reset_peak_memory
from gluelamp.training.evaluation import evaluate_splits, predict
from gluelamp.training.loss import task_loss
from gluelamp.training.precision import MasterWeights

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
class Rates:
    """Peak learning rates: the method's values, and the head's."""

    method: float
    head: float


@dataclass(frozen=True)
class Outcome:
    """What training gave.

    Args:
        progress: losses, history and the number of the best evaluation.
        outputs: the head's outputs per validation split, for ``best`` and ``last``.
        speed: rates of the training steps.
        memory: peak memory.
    """

    progress: Progress
    outputs: dict[str, dict[str, np.ndarray]]
    speed: dict[str, Any]
    memory: dict[str, Any]


class Trainer:
    """Trains one adaptation on one task, or on a mixture of tasks.

    Args:
        adaptation: in fp32, on the CPU; its model is moved and cast.
        task: the declaration.
        train: the training rows.
        validation: the validation splits, first the one that selects the best evaluation.
        config: the knobs.
        rates: peak learning rates.
        seed: of the order of examples and the dropout masks.
        folder: takes the checkpoint and the task states ``best`` and ``last``.
        bound_to: what the task states are bound to; see `gluelamp.methods.storage.provenance`.
        tracker: shown each evaluation, if there is one.
    """

    def __init__(
        self,
        adaptation: Adaptation,
        task: Task | Mixture,
        train: EncodedSplit,
        validation: dict[str, EncodedSplit],
        config: TrainerConfig,
        rates: Rates,
        seed: int,
        folder: Path,
        bound_to: Mapping[str, str],
        tracker: Tracker | None = None,
    ) -> None:
        self.adaptation, self.task, self.train_split = adaptation, task, train
        self.validation, self.config, self.seed = validation, config, seed
        self.folder, self.bound_to, self.tracker = folder, bound_to, tracker
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(config.precision, self.device)
        self.model = adaptation.model
        self.dropout = install_dropout(self.model, seed)
        self.model.to(self.device)  # type: ignore[arg-type]  # the decorated method loses its signature
        method, head = list(adaptation.trainable.values()), list(adaptation.head.values())
        self.weights = MasterWeights(self.model, [*method, *head], self.dtype)
        self.optimizer, self.schedule = self._optimizer(len(method), rates)
        self.progress = Progress()
        self.outputs: dict[str, dict[str, np.ndarray]] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the training data."""
        return math.ceil(len(self.train_split) / self.config.batch_size)

    def run(self) -> Outcome:
        """Train to the end, from the checkpoint if there is one.

        Raises:
            DivergedError: if a loss or an output is not finite; the checkpoint before it stays.
        """
        reset_peak_memory(self.device)
        self._resume()
        self.model.train()
        every_token = self.adaptation.needs_every_token
        with nullcontext() if every_token else first_token_only(self.model):
            while not self.progress.finished:
                self._epoch()
            return Outcome(self.progress, self.outputs, self._speed(), peak_memory(self.device))

    def _epoch(self) -> None:
        progress, config = self.progress, self.config
        order = training_order(
            self.train_split.lengths,
            config.batch_size,
            config.bucket_batches,
            self.seed,
            progress.epoch,
        )
        pending: list[Tensor] = []
        start = time.perf_counter()
        for examples in order[progress.batch :]:
            pending.append(self._step(examples))
            progress.batch += 1
            progress.step += 1
            progress.tokens += int(self.train_split.lengths[examples].sum())
            evaluates = self._evaluates_now(len(order))
            saves = evaluates or progress.step % config.checkpoint_steps == 0
            if saves or len(pending) >= _LOSSES_BETWEEN_CHECKS:
                self._take_losses(pending)
            if saves:
                progress.seconds += time.perf_counter() - start
                if evaluates:
                    self._evaluate()
                self._checkpoint()
                start = time.perf_counter()
            if progress.finished:
                return
        self._take_losses(pending)
        progress.seconds += time.perf_counter() - start
        progress.epoch, progress.batch = progress.epoch + 1, 0

    def _evaluates_now(self, batches: int) -> bool:
        progress, every = self.progress, self.config.eval_steps
        last_of_epoch = progress.batch == batches
        if every is None:
            return last_of_epoch
        last_of_all = last_of_epoch and progress.epoch == self.config.epochs - 1
        return progress.step % every == 0 or last_of_all

    def _step(self, examples: np.ndarray) -> Tensor:
        loss = self._forward_and_backward(examples)
        self.weights.gather_gradients()
        if self.config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.weights.masters, self.config.max_grad_norm)
        self.optimizer.step()
        # A fused step does not say that it wrote, and sparse methods go by a tensor's version.
        torch.autograd.graph.increment_version(self.weights.masters)
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.weights.publish()
        return loss

    def _forward_and_backward(self, examples: np.ndarray) -> Tensor:
        inputs, labels = collate(self.train_split, examples, self.device)

        def forward() -> Tensor:
            return self.model(**inputs).logits.float()

        loss = self.adaptation.objective(forward, task_loss(self.task, labels, inputs.get(task_ids.KEY)))
        loss.backward()
        return loss.detach()

    def _take_losses(self, pending: list[Tensor]) -> None:
        losses = torch.stack(pending).tolist() if pending else []
        pending.clear()
        first = self.progress.step - len(losses) + 1
        for number, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise self._diverged(f"The loss of step {first + number} is {loss}.")
        self.progress.losses += losses

    def _diverged(self, what: str) -> DivergedError:
        advice = "Lower trainer.learning_rate, or train with trainer.precision=fp32."
        return DivergedError(f"{what} {advice}", self.progress.history)

    def _evaluate(self) -> None:
        progress, config = self.progress, self.config
        outputs = {
            name: predict(self.model, split, config.eval_batch_size, self.device)
            for name, split in self.validation.items()
        }
        if not all(np.isfinite(values).all() for values in outputs.values()):
            raise self._diverged(f"The model's outputs after step {progress.step} are not finite.")
        metrics = evaluate_splits(self.task, self.validation, outputs)
        since = self.progress.history[-1]["step"] if progress.history else 0
        entry = {
            "epoch": progress.step / self.steps_per_epoch,
            "step": progress.step,
            "train_loss": float(np.mean(progress.losses[since:])),
            **metrics,
        }
        progress.history.append(entry)
        if self.tracker is not None:
            self.tracker.log(progress.step, entry)
        best = progress.history[progress.best][self.task.main_metric] if progress.best >= 0 else None
        self.outputs["last"] = outputs
        if best is None or metrics[self.task.main_metric] > best:
            progress.best = len(progress.history) - 1
            self.outputs["best"] = outputs
            self._save_state("best")
        waited = len(progress.history) - 1 - progress.best
        done = progress.step >= config.epochs * self.steps_per_epoch
        progress.finished = done or (config.patience is not None and waited >= config.patience)
        if progress.finished:
            self._save_state("last")

    def _save_state(self, name: str) -> None:
        with self.weights.exposed():
            save_task_state(self.folder / f"{name}.safetensors", self.adaptation, self.bound_to)

    def _optimizer(
        self, method_count: int, rates: Rates
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        from transformers import get_scheduler

        config, masters = self.config, self.weights.masters
        groups = [
            {"params": masters[:method_count], "lr": rates.method},
            {"params": masters[method_count:], "lr": rates.head},
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

    def _checkpoint(self) -> None:
        tensors = {
            "masters": [master.detach() for master in self.weights.masters],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": {
                "torch": torch.get_rng_state(),
                "dropout": self.dropout.state(),
                "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            },
            "outputs": {
                selection: {name: torch.from_numpy(value) for name, value in outputs.items()}
                for selection, outputs in self.outputs.items()
            },
        }
        save_checkpoint(self.folder / "checkpoint.pt", self.progress, tensors)

    def _resume(self) -> None:
        found = load_checkpoint(self.folder / "checkpoint.pt")
        if found is None:
            return
        self.progress, tensors = found
        _log.info("resuming at step %d", self.progress.step)
        with torch.no_grad():
            for master, saved in zip(self.weights.masters, tensors["masters"], strict=True):
                master.copy_(saved)
        self.weights.publish()
        self.optimizer.load_state_dict(tensors["optimizer"])
        self.schedule.load_state_dict(tensors["schedule"])
        torch.set_rng_state(tensors["random"]["torch"])
        self.dropout.load_state(tensors["random"]["dropout"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all(tensors["random"]["cuda"])
        self.outputs = {
            selection: {name: value.numpy() for name, value in outputs.items()}
            for selection, outputs in tensors["outputs"].items()
        }

    def _count_flops(self) -> float:
        """Operations of a training step for each of its tokens, counted apart from the timed steps."""
        examples = np.arange(min(self.config.batch_size, len(self.train_split)))
        with FlopCounterMode(display=False) as counter:
            self._forward_and_backward(examples)
        self.model.zero_grad(set_to_none=True)
        return counter.get_total_flops() / int(self.train_split.lengths[examples].sum())

    def _speed(self) -> dict[str, Any]:
        progress = self.progress
        progress.flops_per_token = self._count_flops()
        seconds = max(progress.seconds, 1e-9)
        examples = progress.step / self.steps_per_epoch * len(self.train_split)
        model_flops = self.progress.flops_per_token * progress.tokens / seconds
        rate = matmul_rate(self.device, self.dtype)
        return {
            "train_seconds": progress.seconds,
            "samples_per_second": examples / seconds,
            "tokens_per_second": progress.tokens / seconds,
            "model_flops_per_token": self.progress.flops_per_token,
            "model_flops_per_second": model_flops,
            "matmul_flops_per_second": rate,
            "utilisation": model_flops / rate,
        }


def set_dropout(model: torch.nn.Module, p: float) -> None:
    """Set the probability of every dropout of a model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p
