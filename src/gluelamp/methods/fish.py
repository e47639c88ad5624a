"""FISH Mask (Sung, Nair, Raffel, NeurIPS 2021, arXiv 2111.09839): train where the Fisher is largest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import TaskKind
from gluelamp.methods.phases import Phase, ScoringPhase
from gluelamp.methods.sparse_masks import Dense, TaskSparse


class Fish(TaskSparse):
    """Train a delta at the positions of largest empirical Fisher information, computed before training.

    Args:
        examples: training examples whose squared gradients are summed, one by one.
        labels: the ``observed`` label, as in the released GLUE runs, or the ``expected`` square over
            the model's own distribution.
        counts_head: whether the head's values are subtracted from the budget, as in the released code.
            RoBERTa's two-layer head needs most of it, so by default the head is outside the budget.
    """

    family: ClassVar[str] = "sparse"
    reference: ClassVar[str] = "Sung, Nair, Raffel, NeurIPS 2021, arXiv 2111.09839"
    checked_against: ClassVar[str] = (
        "Squared gradients of single examples (tests/methods/test_masks.py, tests/training/test_phases.py)."
    )
    open_questions: ClassVar[str] = (
        "The head is outside the budget by default, and inside it in the released code. As released, a "
        "frozen pooler (head=linear) is a candidate: on MiniLM it takes 84 % of the mask on CoLA and 85 % on "
        "MRPC. With a two-layer head it is trained with the head."
    )

    examples: int = Field(default=1024, ge=1)
    labels: Literal["observed", "expected"] = "observed"
    counts_head: bool = False

    def phases(self) -> tuple[Phase, ...]:
        """Score all candidates."""
        # A batch size of 1: the empirical Fisher information squares the gradient of each example.
        dense = Dense(exclude=self.exclude, pooler=self.pooler)
        return (ScoringPhase(dense, "fisher", self.examples, 1, self.labels),)

    def check_task(self, kind: TaskKind) -> None:
        """Refuse the expectation over labels where they are not the classes of one task."""
        if kind != "classification" and self.labels == "expected":
            raise InputError(
                f"method.labels=expected takes its expectation over one task's classes, which a {kind} "
                "does not have. Take method.labels=observed."
            )

    def scores(self, candidates: Mapping[str, Tensor], result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sums of squared gradients; of an untrained selection, the magnitudes."""
        return {name: value.abs() for name, value in result.items()}

    def spent(self, parts: Anatomy) -> int:
        """Return the size of the head, if the budget counts it."""
        if not self.counts_head:
            return 0
        return sum(value.numel() for part in parts.head for value in part.module.parameters())
