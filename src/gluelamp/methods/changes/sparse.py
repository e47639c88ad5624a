"""Trained values at fixed positions of a weight: the machinery of all sparse methods.

The optimiser holds one value per position, and the backward pass computes the gradient at the positions
only. A forward pass writes the current values into the weight in place, so there is no dense copy of the
weight or of its gradient. The original values at the positions are stored, so that removal is exact.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from gluelamp.methods.changes.change import SharedByRows
from gluelamp.methods.changes.forms import NewEntries
from gluelamp.methods.changes.tensors import Parametrization


class _GradientAtPositions(torch.autograd.Function):
    """Forward: the weight, which already contains the delta. Backward: the gradient at the positions."""

    @staticmethod
    def forward(weight: Tensor, delta: Tensor, positions: Tensor, owner: SparseDelta) -> Tensor:
        # A view, not the weight itself: autograd needs an output that is not one of the inputs.
        return weight.view_as(weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])
        ctx.owner = inputs[3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None]:
        (positions,) = ctx.saved_tensors
        # An optimiser step follows. Thus a plain training loop needs no call of invalidate().
        ctx.owner.invalidate()
        return None, grad.reshape(-1).index_select(0, positions), None, None


class SparseDelta(SharedByRows, Parametrization):
    """``weight + delta`` at fixed positions; ``delta`` is zero at the start.

    Weight decay on ``delta`` pulls towards the pre-trained value, and cannot reach other entries.

    Args:
        original: the weight, of any shape.
        positions: (k,) int64, positions in the flattened weight, without repetition.
        shares_positions: whether all tasks have these positions; else they are part of a task's selection.
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
        # The delta that the weight contains now, and that delta's version. The reference is weak because a
        # deep copy copies strong references: the copy would then take its own delta for the written one.
        self._written: tuple[weakref.ref[Tensor], int] | None = None

    def forward(self, original: Tensor) -> Tensor:
        """Return the weight, which contains the current values."""
        # Written once for several uses in one pass (tied weights, two forward passes for one loss): a second
        # write would change a tensor that autograd saved for the first use, and backward would fail.
        if not self._is_written():
            with torch.no_grad():
                original.view(-1).index_copy_(0, self.positions, self.before + self.delta)
            # PyTorch does not count the step of a fused optimiser as a write, and an evaluation may come
            # between backward pass and step. A step needs a gradient: with one, the next pass writes again.
            # Passes that autograd records must not, as above.
            if torch.is_grad_enabled() or self.delta.grad is None:
                self._written = weakref.ref(self.delta), self.delta._version
        return _GradientAtPositions.apply(original, self.delta, self.positions, self)

    def invalidate(self) -> None:
        """Write the delta into the weight again in the next pass."""
        self._written = None

    def _is_written(self) -> bool:
        if self._written is None:
            return False
        # The identity differs under torch.func.functional_call, where another delta takes the place of the
        # parameter. The version differs after an in-place write that PyTorch counts, such as a load.
        delta, version = self._written
        return delta() is self.delta and version == self.delta._version

    def shared(self) -> dict[str, Tensor]:
        """Return the positions as int32, if all tasks have the same mask."""
        return {"positions": self.positions.to(torch.int32)} if self.shares_positions else {}

    def form(self, name: str, original: Tensor) -> NewEntries:
        """Return the delta at its positions."""
        return NewEntries(name, self.positions, self.delta)

    def restore(self, original: Tensor) -> None:
        """Write the original values at the positions."""
        # Adding -delta would not do: (w + delta) - delta is not w in floating point.
        with torch.no_grad():
            original.view(-1).index_copy_(0, self.positions, self.before)
        self._written = None
