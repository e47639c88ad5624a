"""Trained values at fixed positions of a weight: the machinery of all sparse methods.

The optimiser holds one value per position. A forward pass writes the current values into the weight
in place, so there is no dense copy; the backward pass keeps the gradient at the positions only. The
original values at the positions are kept aside, so that the way back is exact.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from gluelamp.methods.changes.change import SharedByRows
from gluelamp.methods.changes.tensors import Parametrization


class _TakeGradient(torch.autograd.Function):
    """The weight itself going forward; going back, the gradient of the delta at its positions."""

    @staticmethod
    def forward(weight: Tensor, delta: Tensor, positions: Tensor, owner: SparseDelta) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])
        ctx.owner = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        (positions,) = ctx.saved_tensors
        ctx.owner.invalidate()
        return None, grad.reshape(-1).index_select(0, positions), None, None


class SparseDelta(SharedByRows, Parametrization):
    """``weight + delta`` at fixed positions; ``delta`` starts at zero.

    Weight decay on ``delta`` pulls towards the pre-trained value, and cannot reach other entries.

    Args:
        original: the weight, of any shape.
        positions: (k,) int64, positions in the flattened weight, without repetition.
        shares_positions: whether all tasks have these positions; else they are the task's choice.
    """

    positions: Tensor
    before: Tensor

    def __init__(self, original: Tensor, positions: Tensor, *, shares_positions: bool) -> None:
        super().__init__()
        self.shares_positions = shares_positions
        before = original.detach().reshape(-1)[positions].clone()
        self.delta = nn.Parameter(torch.zeros_like(before))
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("before", before, persistent=False)
        # The delta in the weight, and its version. A weak reference stays at the original in a deep copy,
        # where a reference would pass for the copy's own delta.
        self._written: tuple[weakref.ref[Tensor], int] | None = None

    def forward(self, original: Tensor) -> Tensor:
        """Return the weight with the current values in place."""
        # A second use in the same pass must not write again: it would look like a change to autograd.
        if not self._is_written():
            with torch.no_grad():
                original.view(-1).index_copy_(0, self.positions, self.before + self.delta)
            self._written = weakref.ref(self.delta), self.delta._version
        return _TakeGradient.apply(original, self.delta, self.positions, self)

    def invalidate(self) -> None:
        """Write the delta into the weight again in the next pass."""
        self._written = None

    def _is_written(self) -> bool:
        if self._written is None:
            return False
        delta, version = self._written
        return delta() is self.delta and version == self.delta._version

    def shared(self) -> dict[str, Tensor]:
        """Return the positions as int32, if the mask is one for all tasks."""
        return {"positions": self.positions.to(torch.int32)} if self.shares_positions else {}

    def restore(self, original: Tensor) -> None:
        """Write the values from before back."""
        with torch.no_grad():
            original.view(-1).index_copy_(0, self.positions, self.before)
        self._written = None
