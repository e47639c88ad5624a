"""The preliminary phases of a method, which run on the task's data before the method's own training.

Most methods depend on the pre-trained weights alone. Some need the task first: a mask from gradients, or
a trained head. Such a method returns its phases, in order, from `Method.phases`, and makes a `Selection`
from their results in `Method.selection_from_phases`. The selection is stored with the task.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.methods.base import Adaptation, Method, Selection


@dataclass(frozen=True)
class TrainingPhase:
    """A phase that trains a method; its result is that method's task state.

    The head is trained at the run's own head learning rate.

    Args:
        method: what is trained.
        label: its name in reports.
        epochs: passes over the training data.
        learning_rate: peak learning rate of the method's values; the run's if None.
        keeps_head: whether the trained head is the initial head of what follows.
    """

    method: Method
    label: str
    epochs: int
    learning_rate: float | None = None
    keeps_head: bool = True


@dataclass(frozen=True)
class ScoringPhase:
    """A phase that sums squared gradients; its result is one tensor for each trainable of a method.

    Args:
        method: its trainable values are scored, at their initial values.
        label: its name in reports.
        examples: training examples, sampled with the run's seed.
        batch_size: examples whose mean loss gives one gradient; 1 is the empirical Fisher information.
        labels: ``observed`` in the data, or the ``expected`` square over the model's own distribution.
    """

    method: Method
    label: str
    examples: int
    batch_size: int
    labels: Literal["observed", "expected"] = "observed"


Phase = TrainingPhase | ScoringPhase
RunPhase = Callable[[Phase, Adaptation], Mapping[str, Tensor]]


def run_phases(method: Method, model: PreTrainedModel, run: RunPhase) -> Selection:
    """Run a method's phases, each on a copy of the model, and return what they select.

    A head that a phase trained is the initial head of what follows, if the phase keeps it. Nothing else of a
    phase's model is used again.

    Args:
        method: the method.
        model: the bare sequence classifier; its head is changed in place.
        run: runs one phase and returns its result.
    """
    results = []
    for phase in method.phases():
        # A resumed run skips finished phases. Its random numbers must be those of an uninterrupted run.
        with torch.random.fork_rng():
            result = run(phase, phase.method.adapt(copy.deepcopy(model)))
        results.append(result)
        # Hooks and closures tie an adapted model into reference cycles, and it may be large.
        gc.collect()
        # A training phase returns its head too.
        if isinstance(phase, TrainingPhase) and phase.keeps_head:
            for name, value in method.head(anatomy(model)).items():
                value.data.copy_(result[name])
    return method.selection_from_phases(model, anatomy(model), results)


def untrained_selection(method: Method, model: PreTrainedModel) -> Selection:
    """Return a selection without any training, to count parameters or to time passes.

    Training phases return their initial values and scoring phases the pre-trained values.

    Args:
        method: the method.
        model: the bare sequence classifier; not changed.
    """

    def untrained(phase: Phase, adaptation: Adaptation) -> Mapping[str, Tensor]:
        if isinstance(phase, TrainingPhase):
            return adaptation.task_state()
        return {name: value.detach() for name, value in adaptation.trainable.items()}

    return run_phases(method, model, untrained)


def adapt_untrained(method: Method, model: PreTrainedModel) -> Adaptation:
    """Apply a method with its `untrained_selection`, which is empty for a method without phases.

    Args:
        method: the method.
        model: the sequence classifier, changed in place.
    """
    return method.adapt(model, untrained_selection(method, model))
