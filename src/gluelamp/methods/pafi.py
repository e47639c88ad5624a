"""PaFi (Liao, Meng, Monz, ACL 2023, arXiv 2305.16742): train the weights of smallest magnitude.

The mask depends on the pre-trained weights alone. All tasks therefore share one mask, and a task stores its
values without their positions. The rule (smallest absolute values, one common mask) is the paper's. Only
parts of its text were available: which tensors are candidates, and whether the ranking is global, are our
choice, and are options here. The other orders are ablations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.changes.change import Change
from gluelamp.methods.sparse_masks import Scope, Sparse, grouped, lowest, sparse_changes


class PaFi(Sparse):
    """Train a delta at positions selected by pre-trained magnitude.

    Args:
        order: which magnitudes: ``smallest`` (PaFi), ``largest``, those nearest to the median
            (``middle``), or any (``random``).
        scope: rank over all candidate tensors together, within each block, or within each tensor.
        mask_seed: seed of the positions of order ``random``; the same for all tasks. The config sets it to
            the seed of the run, so that runs with several seeds have several masks.
    """

    family: ClassVar[str] = "sparse"
    reference: ClassVar[str] = "Liao, Meng, Monz, ACL 2023, arXiv 2305.16742"
    checked_against: ClassVar[str] = (
        "numpy's ranking with ties, gradients of a dense delta, and bit patterns after 100 swaps of "
        "tasks (tests/methods/test_pafi.py, test_masks.py)."
    )
    open_questions: ClassVar[str] = (
        "Which tensors are candidates, whether the ranking is global or per tensor, and the base of the "
        "budget: the paper's text is not available. What the paper compared with is open, too."
    )

    seed_options: ClassVar[tuple[str, ...]] = ("mask_seed",)

    order: Literal["smallest", "largest", "middle", "random"] = "smallest"
    scope: Scope = "global"
    mask_seed: int = Field(default=0, ge=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Select the positions and put a trained delta at each.

        Raises:
            InputError: if the budget is zero, or larger than the candidates.
        """
        candidates = self.candidates(model, parts)
        budget = self.budget(model, parts)
        available = sum(value.numel() for value in candidates.values())
        # On the CPU, so that every device has the same random mask.
        generator = torch.Generator().manual_seed(self.mask_seed)
        positions: dict[str, Tensor] = {}
        seen = 0
        for names in grouped(list(candidates), self.scope):
            group = {name: candidates[name] for name in names}
            before, seen = seen, seen + sum(value.numel() for value in group.values())
            # Each group's part is proportional to its size. The difference of two rounded cumulative budgets
            # makes the parts sum to the budget exactly.
            part = budget * seen // available - budget * before // available
            positions |= lowest(self._scores(group, generator), part)
        return [*sparse_changes(model, positions, shares_positions=True)]

    def _scores(self, group: Mapping[str, Tensor], generator: torch.Generator) -> Mapping[str, Tensor]:
        magnitudes = {name: value.float().abs() for name, value in group.items()}
        # On the meta device there are no values to rank: `lowest` then only counts.
        if self.order == "smallest" or any(value.is_meta for value in group.values()):
            return magnitudes
        if self.order == "random":
            return {name: _uniform(value, generator) for name, value in group.items()}
        if self.order == "largest":
            return {name: -value for name, value in magnitudes.items()}
        median = torch.cat([value.flatten() for value in magnitudes.values()]).median()
        return {name: (value - median).abs() for name, value in magnitudes.items()}


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device="cpu").to(like.device)
