"""LT-SFT (Ansell et al., ACL 2022, arXiv 2110.07560): train what full fine-tuning changes most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from gluelamp.methods.phases import Phase, TrainingPhase
from gluelamp.methods.sparse_masks import Dense, TaskSparse


class LtSft(TaskSparse):
    """Fine-tune all candidates, select the positions that changed most, and train these from the start.

    Args:
        density: see `Sparse`; the released default is 1 %, here 0.5 % as for the other masks.
        first_epochs: epochs of the fine-tuning of all candidates.
        first_learning_rate: peak learning rate of that fine-tuning.
        rewind_head: whether the second phase starts with the initial head, too. The released code rewinds
            every parameter. Otherwise it starts with the head of the first phase.
    """

    family: ClassVar[str] = "sparse"
    reference: ClassVar[str] = "Ansell et al., ACL 2022, arXiv 2110.07560"
    checked_against: ClassVar[str] = (
        "The largest differences after a dense training (tests/methods/test_masks.py)."
    )
    open_questions: ClassVar[str] = (
        "As released, the head is rewound with all other values before the second phase, and a frozen "
        "pooler (head=linear) is a candidate. With a two-layer head it is trained with the head."
    )

    first_epochs: int = Field(default=3, ge=1)
    first_learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    rewind_head: bool = True

    def phases(self) -> tuple[Phase, ...]:
        """Fine-tune all candidates."""
        # Trained in full only here. The second stage starts again from the pre-trained values.
        dense = Dense(exclude=self.exclude, pooler=self.pooler)
        return (
            TrainingPhase(
                dense,
                "full fine-tuning",
                self.first_epochs,
                self.first_learning_rate,
                keeps_head=not self.rewind_head,
            ),
        )

    def scores(self, candidates: Mapping[str, Tensor], result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the absolute change of each value."""
        return {name: (result[name] - before).abs() for name, before in candidates.items()}
