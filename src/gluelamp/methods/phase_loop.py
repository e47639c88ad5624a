"""Preliminary phases over a dataloader of one's own: what `Method.select` runs.

The suite's own runs use `gluelamp.training.phase_runner` instead, with checkpoints and a task's declaration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.phases import Phase, ScoringPhase, TrainingPhase

Batch = Mapping[str, Tensor]

# As in the suite's trainer, with its default options.
_WARMUP_RATIO = 0.06
_MAX_GRAD_NORM = 1.0


class Dataloader(Sized, Iterable[Batch], Protocol):
    """Batches of a model's inputs with their labels, such as a ``torch.utils.data.DataLoader``."""


@dataclass(frozen=True)
class PhaseLoop:
    """Runs the phases of a method; a `gluelamp.methods.phases.RunPhase`.

    A training phase has AdamW, a linear schedule after a warm-up of 6 % of the steps, and gradients clipped
    at a norm of 1. A scoring phase takes the first examples, without dropout.

    Args:
        batches: each pass over them is one epoch.
        learning_rate: of a method's values in phases that have no rate of their own.
        head_learning_rate: of the head; ``learning_rate`` if None.
        weight_decay: on all trained values.
    """

    batches: Dataloader
    learning_rate: float
    head_learning_rate: float | None = None
    weight_decay: float = 0.0

    def __call__(self, phase: Phase, adaptation: Adaptation) -> Mapping[str, Tensor]:
        """Run one phase and return its result."""
        if isinstance(phase, TrainingPhase):
            return self._train(phase, adaptation)
        adaptation.model.eval()
        return squared_gradients(adaptation.trainable, self._losses(phase, adaptation))

    def _train(self, phase: TrainingPhase, adaptation: Adaptation) -> Mapping[str, Tensor]:
        from transformers import get_linear_schedule_with_warmup

        optimizer = adaptation.optimizer(
            phase.learning_rate or self.learning_rate,
            self.head_learning_rate or self.learning_rate,
            weight_decay=self.weight_decay,
        )
        steps = phase.epochs * len(self.batches)
        schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(_WARMUP_RATIO * steps), steps)
        adaptation.model.train()
        for _ in range(phase.epochs):
            for batch in self.batches:
                adaptation.loss(_on_device(batch, adaptation)).backward()
                torch.nn.utils.clip_grad_norm_(adaptation.parameters(), _MAX_GRAD_NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
        adaptation.model.eval()  # some methods store another value in training
        return adaptation.task_state()

    def _losses(
        self, phase: ScoringPhase, adaptation: Adaptation
    ) -> Iterator[Sequence[tuple[float, Tensor]]]:
        left = phase.examples
        for given in self.batches:
            batch = _on_device(given, adaptation)
            rows = len(next(iter(batch.values())))
            # The examples of one gradient are of one batch: another batch has another padding.
            for start in range(0, min(rows, left), phase.batch_size):
                stop = min(start + phase.batch_size, rows, left)
                part = {name: value[start:stop] for name, value in batch.items()}
                yield _weighted_losses(phase, adaptation, part)
            left -= rows
            if left <= 0:
                return


def squared_gradients(
    values: Mapping[str, Tensor], losses: Iterable[Sequence[tuple[float, Tensor]]]
) -> dict[str, Tensor]:
    """Return the sum over batches of the squared gradient of each value.

    Args:
        values: trainable values by full name.
        losses: for each batch, its mean losses with weights; those of one batch have one forward pass.

    Returns:
        By full name, sums of the value's shape.
    """
    sums = {name: torch.zeros_like(value) for name, value in values.items()}
    for batch in losses:
        for weight, loss in batch:
            # One forward pass serves all classes: its graph is freed only where there is a single loss.
            gradients = torch.autograd.grad(
                loss, list(values.values()), retain_graph=len(batch) > 1, materialize_grads=True
            )
            for name, gradient in zip(sums, gradients, strict=True):
                sums[name].addcmul_(gradient, gradient, value=weight)
    return sums


def _weighted_losses(
    phase: ScoringPhase, adaptation: Adaptation, batch: Batch
) -> Sequence[tuple[float, Tensor]]:
    if phase.labels == "observed":
        return [(1.0, adaptation.loss(batch))]
    outputs = adaptation.model(**batch).logits
    if outputs.dim() != 2 or outputs.shape[1] < 2:
        raise InputError(
            "labels='expected' takes its expectation over the classes of a text, which this model's head "
            "does not have. Take labels='observed'."
        )
    labels = batch["labels"]
    # The expectation over the model's own distribution: each class, weighted by its probability.
    probabilities = outputs.detach().softmax(-1).mean(0).tolist()
    return [
        (p, functional.cross_entropy(outputs, torch.full_like(labels, number)))
        for number, p in enumerate(probabilities)
    ]


def _on_device(batch: Batch, adaptation: Adaptation) -> dict[str, Tensor]:
    return {name: value.to(adaptation.model.device) for name, value in batch.items()}
