"""Matrices in tensor-train form, as LoRETTA (arXiv 2402.11417) trains them.

A matrix (inputs, outputs) is read row by row as a tensor of k modes, and that tensor is a chain of
cores (r, K, r'): its entry at (i_1, ..., i_k) is the product of the k matrices ``core_j[:, i_j, :]``.
"""

from __future__ import annotations

from functools import reduce
from itertools import accumulate
from operator import matmul, mul

import torch
from torch import Tensor, nn

# LoRETTA's released table, for both directions between a wide and a narrow side.
_RELEASED = {
    (768, 8): (8, 8, 12, 8),
    (768, 16): (8, 16, 12, 8),
    (768, 64): (8, 8, 12, 8, 8),
    (768, 128): (8, 16, 12, 8, 8),
    (1024, 8): (4, 8, 8, 8, 4),
    (1024, 16): (4, 8, 16, 8, 4),
    (1024, 64): (4, 8, 8, 8, 8, 4),
    (1024, 128): (4, 8, 16, 8, 8, 4),
}
_LARGEST_DIVISOR, _LARGEST_REST = 8, 16


def mode_sizes(inputs: int, outputs: int) -> tuple[int, ...]:
    """Return the mode sizes K_1 ... K_k of a matrix; their product is ``inputs * outputs``.

    The released table knows the widths 768 and 1024. Elsewhere each side is factorised by itself: its
    largest divisor up to 8 is split off until at most 16, or no such divisor, is left. The outputs'
    modes stand in reverse, so that a matrix and one of the transposed shape mirror each other:
    (384, 64) gives 8, 8, 6 | 8, 8 and (64, 384) gives 8, 8 | 6, 8, 8. This continues what the table
    does at (768, 64).

    Args:
        inputs: rows.
        outputs: columns.
    """
    released = _RELEASED.get((max(inputs, outputs), min(inputs, outputs)))
    return released or (*_factors(inputs), *reversed(_factors(outputs)))


def _factors(size: int) -> tuple[int, ...]:
    divisor = max(k for k in range(1, _LARGEST_DIVISOR + 1) if size % k == 0)
    if size <= _LARGEST_REST or divisor == 1:
        return (size,)
    return divisor, *_factors(size // divisor)


class TensorTrain(nn.Module):
    """The trained cores of a matrix, multiplied out in fp32.

    Trained: sum of r_{j-1} K_j r_j, with r_0 = r_k = 1 and r elsewhere. The start is LoRETTA's released
    one: entries of the matrix have variance 1 / (inputs + outputs).

    Args:
        inputs: rows.
        outputs: columns.
        rank: r of all inner bonds.
    """

    computes_in_fp32 = True

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        modes = mode_sizes(inputs, outputs)
        ranks = (1, *[rank] * (len(modes) - 1), 1)
        std = (inputs + outputs) ** (-1 / (2 * len(modes)))
        self.cores = nn.ParameterList(
            torch.empty(left, size, right).normal_(0, std / right**0.5)
            for left, size, right in zip(ranks, modes, ranks[1:], strict=False)
        )
        self.shape = inputs, outputs
        rows = [*accumulate(modes, mul)]
        self._edge = rows.index(inputs) + 1 if inputs in rows else len(modes)

    def forward(self) -> list[Tensor]:
        """Return the factors whose product is the matrix (inputs, outputs).

        Where a bond stands between rows and columns these are (inputs, r) and (r, outputs), at which a
        product with hidden states is cheap; else it is the matrix itself.
        """
        cores = list(self.cores)
        inputs, outputs = self.shape
        left = reduce(_join, cores[: self._edge]).reshape(inputs, -1)
        if self._edge == len(cores):
            return [left]
        return [left, reduce(_join, cores[self._edge :]).reshape(-1, outputs)]


def _join(left: Tensor, right: Tensor) -> Tensor:
    return torch.tensordot(left, right, dims=1)


class TensorTrainLinear(nn.Module):
    """``x M + bias`` with M in tensor-train form.

    Args:
        inputs: size of x.
        outputs: size of the result.
        rank: of the tensor train.
        bias: whether there is a dense bias, drawn uniformly within 1 / sqrt(outputs).
        zero: whether M (by its last core) and the bias start at zero.
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, *, bias: bool = False, zero: bool = False
    ) -> None:
        super().__init__()
        bound = outputs**-0.5
        self.matrix = TensorTrain(inputs, outputs, rank)
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound)) if bias else None
        if zero:
            nn.init.zeros_(self.matrix.cores[-1])
            if self.bias is not None:
                nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the product of x (..., inputs)."""
        product = reduce(matmul, [x, *(factor.to(x.dtype) for factor in self.matrix())])
        return product if self.bias is None else product + self.bias

    def dense(self) -> Tensor:
        """Return M (inputs, outputs)."""
        return reduce(matmul, self.matrix())
