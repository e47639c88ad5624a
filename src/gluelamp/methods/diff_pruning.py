"""Diff pruning (Guo, Rush, Kim, ACL 2021, arXiv 2012.07463): train which differences are not zero.

Three stages: differences are trained together with gates, which an L0 penalty closes; the largest
differences are selected; these alone are trained further. The first stage is a preliminary phase here, the
second its selection.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Forward, Selection, TaskLoss
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.tensors import Parametrization, TensorChange
from gluelamp.methods.phases import Phase, TrainingPhase
from gluelamp.methods.sparse_masks import Dense, TaskSparse

_log = logging.getLogger(__name__)

LOW, HIGH = -1.5, 1.5
"""The stretched interval of the hard-concrete distribution, as released."""


def open_probability(logit: Tensor) -> Tensor:
    """Return the probability that a hard-concrete gate is not zero (Louizos et al., 2018, eq. 12)."""
    return torch.sigmoid(logit - math.log(-LOW / HIGH))


def sampled_gate(logit: Tensor) -> Tensor:
    """Sample a hard-concrete gate in [0, 1], with a gradient to its logit; temperature 1."""
    # The logistic noise of a binary concrete variable; the bounds keep its logit finite.
    uniform = torch.rand_like(logit).clamp_(1e-6, 1 - 1e-6)
    return _stretched(torch.logit(uniform) + logit)


def expected_gate(logit: Tensor) -> Tensor:
    """Return the gate without noise, used in evaluation."""
    return _stretched(logit)


def _stretched(logit: Tensor) -> Tensor:
    # Stretched beyond [0, 1] and clipped, so that exact zeros and ones have positive probability.
    return (torch.sigmoid(logit) * (HIGH - LOW) + LOW).clamp(0, 1)


class GatedDifference(Parametrization):
    """``original + gate * difference``, with a gate for each entry and one for the whole tensor.

    Args:
        original: the tensor.
        structured: whether the tensor has one gate in addition to those of its entries.
        first_logit: initial value of the gates' logits.
        gate_rate: ratio of the logits' learning rate to that of the differences. The trained values are
            multiplied by it, since one optimiser rate applies to both. With Adam this is exact as long as
            the gradients are far above its eps: its step does not depend on the scale of a gradient. Gates
            thus follow the schedule and are clipped with the differences; in the released code their rate
            is constant and they are clipped separately.
    """

    def __init__(self, original: Tensor, structured: bool, first_logit: float, gate_rate: float) -> None:
        super().__init__()
        self.first_logit, self.gate_rate = first_logit, gate_rate
        self.difference = nn.Parameter(torch.zeros_like(original))
        self.entries = nn.Parameter(torch.zeros_like(original))
        self.group = nn.Parameter(original.new_zeros(1)) if structured else None

    def forward(self, original: Tensor) -> Tensor:
        """Return the changed tensor, with random gates in training."""
        changed = original + self.gated(sampled_gate if self.training else expected_gate)
        return changed.to(original.dtype)

    def gated(self, gate: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the gated differences, of the tensor's shape, in fp32."""
        return math.prod((gate(logit) for logit in self._logits()), start=self.difference.float())

    def expected_open(self) -> Tensor:
        """Return the expected number of open gates, a scalar.

        As released, the tensor's gate counts as one, however many entries it closes. If it counted with all
        of them (the expected number of differences that are not zero), the penalty would close whole tensors.
        """
        return torch.stack([open_probability(logit).sum() for logit in self._logits()]).sum()

    def stored(self, original: Tensor) -> dict[str, Tensor]:
        """Return the differences, under the name of a dense phase's values."""
        return {"values": self.gated(expected_gate)}

    def _logits(self) -> list[Tensor]:
        trained = [self.entries] if self.group is None else [self.entries, self.group]
        return [self.first_logit + self.gate_rate * value.float() for value in trained]


class GatedDifferences(Dense):
    """The first stage: differences and gates of all candidates, with the L0 penalty.

    Args:
        structured: see `DiffPruning`.
        first_logit: see `DiffPruning`.
        gate_rate: see `GatedDifference`.
        penalty: see `DiffPruning`.
    """

    structured: bool = True
    first_logit: float = 5.0
    gate_rate: float = 1e3
    penalty: float = 1.25e-7

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put a gated difference on each candidate."""
        return [
            TensorChange(
                model, name, GatedDifference(original, self.structured, self.first_logit, self.gate_rate)
            )
            for name, original in self.candidates(model, parts).items()
        ]

    def loss(self, changes: Sequence[Change], forward: Forward, task_loss: TaskLoss) -> Tensor:
        """Add the expected number of open gates, times the penalty."""
        rules = [c.parametrization for c in changes if isinstance(c, TensorChange)]
        # The L0 penalty: the expected number of gates that are not zero (Louizos et al., 2018, eq. 12).
        opened = sum(rule.expected_open() for rule in rules if isinstance(rule, GatedDifference))
        return task_loss(forward()) + self.penalty * opened


class DiffPruning(TaskSparse):
    """Train gated differences, select the largest, and train these further with a fixed mask.

    Args:
        structured: whether each tensor has one gate in addition to those of its entries.
        first_epochs: epochs of the gated phase.
        first_learning_rate: peak learning rate of its differences.
        gate_learning_rate: that of the gates' logits.
        first_logit: initial value of the logits.
        penalty: of one open gate in the loss, as released for a model of 335 M parameters.
    """

    family: ClassVar[str] = "sparse"
    reference: ClassVar[str] = "Guo, Rush, Kim, ACL 2021, arXiv 2012.07463"
    checked_against: ClassVar[str] = (
        "Hard-concrete gates in float64, and their open probability by sampling "
        "(tests/methods/test_diff_pruning.py)."
    )
    open_questions: ClassVar[str] = (
        "The penalty was released for 335 M parameters; smaller backbones may need another. A tensor's "
        "gate counts as one gate in it, as released. Gates follow the schedule and are clipped with the "
        "differences, which is our choice. As released, a frozen pooler (head=linear) is a candidate; with a "
        "two-layer head it is trained with the head."
    )

    structured: bool = True
    first_epochs: int = Field(default=3, ge=1)
    first_learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    gate_learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    first_logit: float = 5.0
    penalty: float = Field(default=1.25e-7, ge=0)

    def phases(self) -> tuple[Phase, ...]:
        """Train the gated differences."""
        # The gates' own rate enters as a ratio, since one optimiser rate applies to both.
        gated = GatedDifferences(
            exclude=self.exclude,
            pooler=self.pooler,
            structured=self.structured,
            first_logit=self.first_logit,
            gate_rate=self.gate_learning_rate / self.first_learning_rate,
            penalty=self.penalty,
        )
        return (TrainingPhase(gated, "gated differences", self.first_epochs, self.first_learning_rate),)

    def scores(self, candidates: Mapping[str, Tensor], result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the magnitudes of the differences."""
        return {name: value.abs() for name, value in result.items()}

    def selection_from_phases(
        self, model: PreTrainedModel, parts: Anatomy, results: Sequence[Mapping[str, Tensor]]
    ) -> Selection:
        """Select the largest differences, which are also the initial values."""
        selection = super().selection_from_phases(model, parts, results)
        # Differences of closed gates are zero. If fewer are open than the mask holds, ties decide the rest.
        wanted = sum(len(indices) for indices in selection.tensors.values())
        values = [results[-1][f"{name}.values"] for name in self.candidates(model, parts)]
        open_ones = sum(int(value.count_nonzero()) for value in values if not value.is_meta)
        # With none open, this is an untrained selection.
        if 0 < open_ones < wanted:
            _log.warning(
                "the gates closed all but %s of the %s differences of the mask; the others are selected by "
                "position alone. Lower method.penalty",
                *(f"{open_ones:,}", f"{wanted:,}"),
            )
        # The second stage starts with the differences of the first, not with zero.
        start = {}
        for key, indices in selection.tensors.items():
            name = key.removesuffix(".positions")
            start[f"{name}.delta"] = results[-1][f"{name}.values"].reshape(-1)[indices.long()]
        return replace(selection, initial_values=start)
