"""LT-SFT (Ansell et al., ACL 2022, arXiv 2110.07560): tune what full fine-tuning moves most."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor

from gluelamp.methods.base import Phase, Training
from gluelamp.methods.masks import Dense, TaskSparse


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

    first_epochs: int = Field(default=3, ge=1)
    first_learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)

    def phases(self) -> tuple[Phase, ...]:
        """Fine-tune all candidates."""
        dense = Dense(
            name="full fine-tuning",
            learning_rate=self.first_learning_rate,
            head_learning_rate=self.head_learning_rate,
            exclude=self.exclude,
        )
        return (Training(dense, self.first_epochs),)

    def scores(self, candidates: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return how far each value moved."""
        return {name: (found[name] - before).abs() for name, before in candidates.items()}
