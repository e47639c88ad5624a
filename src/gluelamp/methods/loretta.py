"""LoRETTA (Yang et al., NAACL 2024, arXiv 2402.11417): LoRA and adapters in tensor-train form.

A matrix (inputs, outputs), flattened row by row, is read as a tensor of k modes K_1 ... K_k. That tensor is
a chain of cores (r, K, r'): its entry at (i_1, ..., i_k) is the product of the k matrices
``core_j[:, i_j, :]``. The cores are trained.
"""

from __future__ import annotations

from functools import reduce
from itertools import accumulate
from operator import matmul, mul
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change, Fp32Module
from gluelamp.methods.changes.forms import Projections
from gluelamp.methods.changes.inserted import Adapter, InsertedModule, residual
from gluelamp.methods.changes.linears import Mergeable, ModuleOnLinear, Target, check_rank, linears
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


class LorettaRep(Method):
    """Add ``alpha / r * B A`` to linear layers. A and B are tensor trains, both random at the start.

    Trained on query and value: 4 L TT(d, r), where TT counts the cores (see `TensorTrain`): 580 at
    d = 768 and 640 at d = 1024. LayerNorms add 4 d L + 2 d.

    Args:
        rank: r, the width between A and B.
        alpha: numerator of the scaling.
        tensor_rank: of the tensor trains. The authors' default is 5, and 8 in their published script.
        dropout: on the input of A.
        targets: the linear layers; query and value as in the authors' code.
        train_layer_norm: whether all LayerNorms of the encoder are trained too, as in the authors' code
            for this variant; counts in other papers exclude them.
        identity_start: whether B is zero at the start. It is random in the authors' code, so training does
            not start from the backbone.
    """

    family: ClassVar[str] = "reparametrization"
    reference: ClassVar[str] = "Yang et al., NAACL 2024, arXiv 2402.11417"
    checked_against: ClassVar[str] = (
        "Dense reconstruction of the tensor train (tests/methods/test_loretta.py)."
    )
    open_questions: ClassVar[str] = "Whether the printed counts include the LayerNorms."

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    tensor_rank: int = Field(default=5, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[Target, ...] = Field(default=("query", "value"), min_length=1)
    train_layer_norm: bool = False
    identity_start: bool = False

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put an update on each target of each block, and train the LayerNorms if ``train_layer_norm``."""
        places = linears(parts, self.targets)
        check_rank(self.rank, places)
        changes: list[Change] = [
            ModuleOnLinear(place, module, module.add)
            for place in places
            for module in [LowRankUpdate(self, place.module.get_parameter("weight").shape)]
        ]
        if self.train_layer_norm:
            changes += replace_tensors(model, layer_norm_names(model, parts))
        return changes


class LowRankUpdate(Mergeable):
    """The update of one linear layer.

    Args:
        method: the hyper-parameters.
        shape: of the layer's weight (out, in).
    """

    def __init__(self, method: LorettaRep, shape: torch.Size) -> None:
        super().__init__()
        outputs, inputs = shape
        self.dropout = nn.Dropout(method.dropout)
        self.A = TensorTrainLinear(inputs, method.rank, method.tensor_rank)
        self.B = TensorTrainLinear(method.rank, outputs, method.tensor_rank, zero=method.identity_start)
        self.scale = method.alpha / method.rank

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return the layer's output with the update added: a forward hook of the layer."""
        return output + self.scale * self.B(self.A(self.dropout(inputs[0])))

    def merged(self, weight: Tensor) -> Tensor:
        """Return the weight with the update added."""
        return weight + self.scale * (self.A.dense() @ self.B.dense()).T

    def low_rank(self) -> tuple[Tensor, Tensor]:
        """Return both tensor trains, multiplied out; the scale is part of the second."""
        return self.A.dense().T, self.scale * self.B.dense().T


class LorettaAdp(Method):
    """Insert ``h + up(ReLU(down(h)))`` after the last linear layers of attention and feed-forward network.

    These are the Houlsby positions, before dropout and residual sum; both projections are tensor trains with
    dense biases. Trained: 2 L (2 TT(d, b) + b + d), where TT counts the cores (see `TensorTrain`): 780
    at d = 768 and 840 at d = 1024 for b = 64. LayerNorms add 4 d L + 2 d.

    Args:
        bottleneck: b.
        tensor_rank: of the tensor trains. The authors' default is 5, and 8 in their published script.
        train_layer_norm: whether all LayerNorms of the encoder are trained too. The authors' code
            intends to train them, but leaves them frozen by mistake.
        identity_start: whether ``up`` is zero at the start. It is random in the authors' code, so training
            does not start from the backbone.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Yang et al., NAACL 2024, arXiv 2402.11417"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "Dense reconstruction of the tensor train (tests/methods/test_loretta.py)."
    )
    open_questions: ClassVar[str] = "Whether the printed counts include the LayerNorms."

    bottleneck: int = Field(default=64, ge=1)
    tensor_rank: int = Field(default=5, ge=1)
    train_layer_norm: bool = False
    identity_start: bool = False

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert the adapters, and train the LayerNorms if ``train_layer_norm``."""
        changes: list[Change] = [
            InsertedModule(block[linear], adapter, residual(adapter))
            for block in parts.blocks
            for linear in ("attention.output", "ffn.down")
            for adapter in [TensorTrainAdapter(self, model.config.hidden_size)]
        ]
        if self.train_layer_norm:
            changes += replace_tensors(model, layer_norm_names(model, parts))
        return changes


class TensorTrainAdapter(Adapter):
    """``up(ReLU(down(h)))``, the adapter without its residual.

    Args:
        method: the hyper-parameters.
        width: size of h.
    """

    def __init__(self, method: LorettaAdp, width: int) -> None:
        super().__init__()
        b, rank = method.bottleneck, method.tensor_rank
        self.down = TensorTrainLinear(width, b, rank, bias=True)
        self.up = TensorTrainLinear(b, width, rank, bias=True, zero=method.identity_start)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., width)."""
        return self.up(torch.relu(self.down(hidden)))

    def projections(self) -> Projections | None:
        """Return the projections, multiplied out."""
        if self.down.bias is None or self.up.bias is None:
            return None
        return Projections(self.down.dense().T, self.down.bias, self.up.dense().T, self.up.bias, "relu")


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

    The released table has the widths 768 and 1024. For other widths each side is factorised separately: its
    largest divisor up to 8 is split off until at most 16, or no such divisor, is left. The outputs'
    modes are in reverse order, so that a matrix and one of the transposed shape mirror each other:
    (384, 64) gives 8, 8, 6 | 8, 8 and (64, 384) gives 8, 8 | 6, 8, 8. This is the rule of the table
    at (768, 64).

    Args:
        inputs: rows.
        outputs: columns.
    """
    # The table is for both directions, so the larger side comes first.
    released = _RELEASED.get((max(inputs, outputs), min(inputs, outputs)))
    return released or (*_factors(inputs), *reversed(_factors(outputs)))


def _factors(size: int) -> tuple[int, ...]:
    # Small modes: the number of trained values grows with their sum, not with their product.
    divisor = max(k for k in range(1, _LARGEST_DIVISOR + 1) if size % k == 0)
    if size <= _LARGEST_REST or divisor == 1:
        return (size,)
    return divisor, *_factors(size // divisor)


class TensorTrain(Fp32Module):
    """The trained cores of a matrix, multiplied out in fp32.

    Trained: sum of r_{j-1} K_j r_j, with r_0 = r_k = 1 and r elsewhere. The start is LoRETTA's released
    one: entries of the matrix have variance 1 / (inputs + outputs).

    Args:
        inputs: rows.
        outputs: columns.
        rank: r of all inner bonds.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        modes = mode_sizes(inputs, outputs)
        ranks = (1, *[rank] * (len(modes) - 1), 1)
        # Each entry of the matrix is a sum of products of k core entries.
        std = (inputs + outputs) ** (-1 / (2 * len(modes)))
        # A product of k entries has the product of their variances, summed over the inner bonds of size r.
        self.cores = nn.ParameterList(
            torch.empty(left, size, right).normal_(0, std / right**0.5)
            for left, size, right in zip(ranks, modes, ranks[1:], strict=False)
        )
        self.shape = inputs, outputs
        # The bond at which the modes of the rows end, if there is one: the train can be cut there.
        rows = [*accumulate(modes, mul)]
        self._edge = rows.index(inputs) + 1 if inputs in rows else len(modes)

    def forward(self) -> list[Tensor]:
        """Return the factors whose product is the matrix (inputs, outputs).

        If a bond separates rows and columns these are (inputs, r) and (r, outputs), with which a product
        with hidden states is cheap; else it is the matrix itself.
        """
        cores = list(self.cores)
        inputs, outputs = self.shape
        left = reduce(_join, cores[: self._edge]).reshape(inputs, -1)
        # No bond separates rows and columns: the matrix itself is the only factor.
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
        bias: whether there is a dense bias, uniform within 1 / sqrt(outputs) at the start.
        zero: whether M (by its last core) and the bias are zero at the start.
    """

    def __init__(
        self, inputs: int, outputs: int, rank: int, *, bias: bool = False, zero: bool = False
    ) -> None:
        super().__init__()
        bound = outputs**-0.5
        self.matrix = TensorTrain(inputs, outputs, rank)
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound)) if bias else None
        if zero:
            # One core of zeros makes the whole product zero, and its gradient is not zero.
            nn.init.zeros_(self.matrix.cores[-1])
            if self.bias is not None:
                nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the product of x (..., inputs)."""
        # x times the factors from the left: two thin products instead of one with the full matrix.
        product = reduce(matmul, [x, *(factor.to(x.dtype) for factor in self.matrix())])
        return product if self.bias is None else product + self.bias

    def dense(self) -> Tensor:
        """Return M (inputs, outputs)."""
        return reduce(matmul, self.matrix())
