"""Preliminary phases: training or scoring on the task's data, before the method itself is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gluelamp.backbones import task_ids
from gluelamp.hardware import choose_device
from gluelamp.io import atomic_write
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phase_loop import squared_gradients as sum_of_squares
from gluelamp.methods.phases import Phase, ScoringPhase, TrainingPhase
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.batches import collate
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import task_loss
from gluelamp.training.profile_state import Rates
from gluelamp.training.trainer import Trainer

NewTrainer = Callable[[Adaptation, TrainerConfig, Rates, Path], Trainer]


class PhaseTracker:
    """Observes phases; this one ignores them. The trainer of a phase has trackers of its own."""

    def part(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which the phase of a name runs."""
        return nullcontext()

    def count(self, done: int, total: int) -> None:
        """Take note of the examples that a phase has scored."""


@dataclass
class PhaseRunner:
    """Runs the phases of one run, in order; a `gluelamp.methods.phases.RunPhase`.

    Each phase has its own folder in the run's folder. A training phase has its own checkpoint there, so a
    killed run resumes in the phase in which it was.

    Args:
        new_trainer: makes the trainer of an adaptation.
        task: the declaration.
        train: the training rows.
        config: the run's options; a phase has its own number of epochs and no early stopping.
        rates: the run's learning rates; a phase may have its own for the method's values.
        seed: of the run.
        folder: of the run.
        tracker: observes the phases.
    """

    new_trainer: NewTrainer
    task: Task | Mixture
    train: EncodedSplit
    config: TrainerConfig
    rates: Rates
    seed: int
    folder: Path
    tracker: PhaseTracker = field(default_factory=PhaseTracker)
    reports: list[dict[str, Any]] = field(default_factory=list)
    """For each finished phase: its label, its history and its seconds."""

    def __call__(self, phase: Phase, adaptation: Adaptation) -> Mapping[str, Tensor]:
        """Run the next phase."""
        folder = self.folder / f"phase-{len(self.reports) + 1}"
        folder.mkdir(exist_ok=True)
        with self.tracker.part(f"phase {len(self.reports) + 1} ({phase.label})"):
            if isinstance(phase, TrainingPhase):
                return self._train(phase, adaptation, folder)
            return self._score(phase, adaptation, folder)

    def _score(self, phase: ScoringPhase, adaptation: Adaptation, folder: Path) -> Mapping[str, Tensor]:
        # A resumed run reads the scores: on another device they may round differently, and the selection with
        # them.
        path = folder / "scores.safetensors"
        self.reports.append({"scores": phase.label, "examples": phase.examples})
        if not path.is_file():
            adaptation.model.to(choose_device(self.config.device))  # type: ignore[arg-type]  # `to` is decorated
            scores = squared_gradients(
                phase, adaptation, self.task, self.train, self.seed, self.tracker.count
            )
            with atomic_write(path) as temporary:
                save_file({name: value.cpu() for name, value in scores.items()}, temporary)
        return load_file(path)

    def _train(self, phase: TrainingPhase, adaptation: Adaptation, folder: Path) -> Mapping[str, Tensor]:
        # Without early stopping: validation rows must not decide what a method selects.
        config = replace(self.config, epochs=phase.epochs, patience=None)
        rates = replace(self.rates, method=phase.learning_rate or self.rates.method)
        (outcome,) = self.new_trainer(adaptation, config, rates, folder).run()
        self.reports.append(
            {
                "trains": phase.label,
                "epochs": phase.epochs,
                "train_seconds": outcome.progress.seconds,
                "history": outcome.progress.history,
            }
        )
        return load_file(folder / "last.safetensors")


def squared_gradients(
    phase: ScoringPhase,
    adaptation: Adaptation,
    task: Task | Mixture,
    train: EncodedSplit,
    seed: int,
    count: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Tensor]:
    """Return the sum over batches of the squared gradient of each trainable value.

    In fp32, without dropout. With one example in a batch this is ``examples`` times the diagonal of the
    empirical Fisher information.

    Args:
        phase: number of examples, batch size, and which labels.
        adaptation: in fp32, on the device to compute on; its values are not changed.
        task: the declaration.
        train: the rows to sample from.
        seed: of the sample.
        count: called after each batch, with the number of finished examples and of all.

    Returns:
        By full name, sums of the trainable's shape.
    """
    model = adaptation.model.eval()
    sample = np.random.default_rng(seed).permutation(len(train))[: phase.examples]

    def losses() -> Iterator[list[tuple[float, Tensor]]]:
        for start in range(0, len(sample), phase.batch_size):
            inputs, labels = collate(train, sample[start : start + phase.batch_size], model.device)
            outputs = model(**inputs).logits
            ids = inputs.get(task_ids.KEY)
            targets = _targets(phase, outputs, labels)
            yield [(weight, task_loss(task, target, ids)(outputs)) for weight, target in targets]
            count(min(start + phase.batch_size, len(sample)), len(sample))

    return sum_of_squares(adaptation.trainable, losses())


def _targets(phase: ScoringPhase, outputs: Tensor, labels: Tensor) -> list[tuple[float, Tensor]]:
    """Return the labels whose gradients are squared, with their weights."""
    if phase.labels == "observed":
        return [(1.0, labels)]
    # The expectation over the model's own distribution: each class, weighted by its probability.
    probabilities = outputs.detach().softmax(-1).mean(0).tolist()
    return [(p, torch.full_like(labels, number)) for number, p in enumerate(probabilities)]
