"""One row of the matrix on one architecture: adapted, trained, and its state and outputs remaining."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, anatomy
from gluelamp.backbones.dropout import install_dropout
from gluelamp.methods.base import Adaptation, Method, Selection
from gluelamp.methods.phases import Phase, TrainingPhase, run_phases
from methods.rows import Row
from tiny_models import OUTPUTS, batch, logits, tiny

STEPS = 3

GetMethod = Callable[..., Method]
GetCase = Callable[[Row, str], "Case"]


@dataclass
class Case:
    """A trained adaptation and the model it was made on.

    Args:
        row: the method and its facts.
        architecture: of the model.
        method: its hyper-parameters.
        bare: the model before any change.
        parts: the anatomy of ``bare``.
        adaptation: trained for `STEPS` steps.
        start: outputs of the fresh adaptation.
        without_gradient: trained tensors that no gradient had reached after two steps.
        state: what the task stores after training.
        outputs: of the trained adaptation.
        selection: what the method's phases selected.
    """

    row: Row
    architecture: str
    method: Method
    bare: PreTrainedModel
    parts: Anatomy
    adaptation: Adaptation
    start: Tensor
    without_gradient: set[str]
    state: dict[str, Tensor]
    outputs: Tensor
    selection: Selection

    def fresh(self, state: dict[str, Tensor] | None = None, seed: int = 1) -> Adaptation:
        """Return a new adaptation of a new copy of the bare model, initialised with another seed."""
        return adapt(self.method, copy.deepcopy(self.bare), seed, self.selection, state)


def make_case(row: Row, architecture: str, method: Method) -> Case:
    bare = tiny(architecture)
    selection = run_phases(method, bare, learn)
    adaptation = adapt(method, copy.deepcopy(bare), seed=0, selection=selection)
    start = logits(adaptation.model)
    without_gradient = train(adaptation)
    outputs, state = logits(adaptation.model), snapshot(adaptation)
    parts = anatomy(bare)
    return Case(
        row, architecture, method, bare, parts, adaptation, start, without_gradient, state, outputs, selection
    )


def learn(phase: Phase, adaptation: Adaptation) -> dict[str, Tensor]:
    """Carry out a method's phase on the tester's own batches."""
    if isinstance(phase, TrainingPhase):
        train(adaptation)
        return snapshot(adaptation)
    loss = functional.cross_entropy(adaptation.model.eval()(**batch()).logits, labels())
    gradients = torch.autograd.grad(loss, list(adaptation.trainable.values()))
    return {name: g.square() for name, g in zip(adaptation.trainable, gradients, strict=True)}


def adapt(
    method: Method,
    model: PreTrainedModel,
    seed: int,
    selection: Selection | None = None,
    state: dict[str, Tensor] | None = None,
) -> Adaptation:
    """Adapt a model with values initialised from a seed, and load a task's state if there is one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adaptation = method.adapt(model, selection=selection)
    if state is not None:
        adaptation.load_task_state(state)
    return adaptation


def train(adaptation: Adaptation, seed: int = 0, steps: int = STEPS) -> set[str]:
    """Train as the trainer does, with weight decay; return what had no gradient after two steps."""
    torch.manual_seed(seed)
    install_dropout(adaptation.model, seed)
    trained = adaptation.trainable | adaptation.head
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01, weight_decay=0.1)
    adaptation.model.train()
    missing: set[str] = set()
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        inputs = batch(seed + step)
        forward = partial(logits_of, adaptation.model, inputs)
        adaptation.objective(forward, partial(functional.cross_entropy, target=labels())).backward()
        if step == 1:
            missing = {name for name, value in trained.items() if value.grad is None}
        optimizer.step()
    return missing


def logits_of(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    return model(**inputs).logits


def labels() -> Tensor:
    return torch.arange(len(batch()["input_ids"])) % OUTPUTS


def snapshot(adaptation: Adaptation) -> dict[str, Tensor]:
    """Return the task's state, out of reach of further training."""
    return {name: value.clone() for name, value in adaptation.task_state().items()}


def frozen_originals(model: nn.Module) -> dict[str, Tensor]:
    """Return an adapted model's tensors under the names they have in the bare model."""
    return {
        re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name).replace(".base_layer.", "."): value
        for name, value in model.state_dict().items()
    }


def outline(model: nn.Module) -> dict[str, tuple[str, int]]:
    """Return kind and number of forward hooks of every module."""
    return {
        name: (type(module).__name__, len(module._forward_hooks)) for name, module in model.named_modules()
    }
