"""LT-SFT (Ansell et al., ACL 2022, arXiv 2110.07560): tune what full fine-tuning moves most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor

from gluelamp.methods.phases import Phase, TrainingPhase
from gluelamp.methods.sparse_masks import Dense, TaskSparse


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LtSft(TaskSparse):
    """Fine-tune all candidates, keep the positions that moved most, go back, and train these alone.

    The head trained in the first phase stays, as in the released code.

    Args:
        density: see `Sparse`; the released default is 1 %, here 0.5 % as for the other masks.
        first_epochs: epochs of the fine-tuning of all candidates, which leaves out the pooler unless it is
            trained with the head.
        first_learning_rate: its peak learning rate.
    """

    family: ClassVar[str] = "sparse"
    reference: ClassVar[str] = "Ansell et al., ACL 2022, arXiv 2110.07560"
    checked_against: ClassVar[str] = (
        "The largest differences after a dense training (tests/methods/test_masks.py)."
    )

    first_epochs: int = Field(default=3, ge=1)
    first_learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def phases(self) -> tuple[Phase, ...]:
        """Fine-tune all candidates."""
        dense = Dense(exclude=self.exclude)
        return (TrainingPhase(dense, "full fine-tuning", self.first_epochs, self.first_learning_rate),)

    def scores(self, candidates: Mapping[str, Tensor], result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return how far each value moved."""
        return {name: (result[name] - before).abs() for name, before in candidates.items()}
