"""The linear layers of a block by name, and modules on them that merge into the layer's weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.forms import LowRank
from gluelamp.methods.changes.inserted import Hook, InsertedModule

Target = Literal["query", "key", "value", "attention_output", "up", "down"]
_HANDLES = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "attention_output": "attention.output",
    "up": "ffn.up",
    "down": "ffn.down",
}


def linears(parts: Anatomy, targets: Sequence[Target]) -> list[Handle]:
    """Return each target of each block; a target named twice counts once.

    Args:
        parts: the anatomy of a model.
        targets: the linear layers.

    Raises:
        InputError: if the architecture has no such layer.
    """
    # dict.fromkeys removes repetitions and keeps the order.
    return [block[_HANDLES[target]] for block in parts.blocks for target in dict.fromkeys(targets)]


def check_rank(rank: int, targets: Sequence[Handle]) -> None:
    """Refuse a low-rank update whose rank is larger than that of the weight.

    Args:
        rank: of the update.
        targets: the linear layers whose weights (out, in) are updated.

    Raises:
        InputError: if the rank is larger than that of one of the weights.
    """
    highest = min(min(target.module.get_parameter("weight").shape) for target in targets)
    if rank > highest:
        raise InputError(
            f"method.rank={rank} is larger than {highest}, the rank of the smallest weight that this "
            "method updates: the update would hold more values than the weight itself. Allowed: 1 to "
            f"{highest}."
        )


class Mergeable(nn.Module):
    """A module on a linear layer that has the same effect as another weight of that layer."""

    def merged(self, weight: Tensor) -> Tensor:
        """Return the weight (out, in) with which the bare layer computes the same as with this module."""
        raise NotImplementedError

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """Return A (rank, in) and B (out, rank) if the merged weight is ``weight + B A``, otherwise None."""
        return None


class ModuleOnLinear(InsertedModule):
    """An inserted module that can be written into the weight of its linear layer.

    Args:
        handle: the linear layer.
        module: the new module.
        hook: a forward hook of the layer; see `InsertedModule`.
    """

    def __init__(self, handle: Handle, module: Mergeable, hook: Hook) -> None:
        super().__init__(handle, module, hook)
        self._mergeable = module

    def form(self) -> LowRank | None:
        """Return the product that the module adds to the weight, if it adds one."""
        factors = self._mergeable.low_rank()
        return LowRank(self.handle.path, *factors) if factors else None

    def merge(self) -> None:
        """Write the module's effect into the weight and remove the module."""
        weight = self.handle.module.get_parameter("weight")
        with torch.no_grad():
            # In place: other modules may be tied to the same Parameter object.
            weight.copy_(self._mergeable.merged(weight))
        self.detach()
