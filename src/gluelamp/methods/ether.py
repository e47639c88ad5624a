"""ETHER and ETHER+ (Bini et al., ICML 2024, arXiv 2405.20271): weights reflected at hyperplanes.

The paper multiplies a linear layer's weight by block-diagonal matrices H, each block made of one or two
unit vectors. Here H is applied to the layer's input and output instead, with the same result. The weight
changes only in a merge. The cost per token is O(in + out), and O(n (in + out)) for ETHER+ with n blocks.

The authors' released code differs for more than one block: it splits the weight's row-major memory, not
its columns. Here block i of H acts on the i-th contiguous slice of the input, as in the paper's formula.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.errors import InputError
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change, Fp32Module
from gluelamp.methods.changes.linears import Mergeable, ModuleOnLinear, Target, linears


class Ether(Method):
    """Replace the weight W of linear layers by ``W H`` (one-sided) or ``G W H`` (two-sided).

    For each reflection of a side, a vector as long as that side (the layer's input or output) is trained. On
    all six linear layers of L blocks of width d and feed-forward width f these are L (5 d + f) values
    for ETHER (reflection, input) and L (16 d + 4 (d + f)) for ETHER+ (relaxed, both), for any number of
    blocks of H.

    Vectors are normalised before use, so weight decay has no regularising effect: it only shortens them,
    which makes an optimiser step rotate them further. Leave it at zero.

    Args:
        transform: ``reflection`` is ETHER's ``I - 2 u u'``, always equally far from the identity;
            ``relaxed`` is ETHER+'s ``I - u u' + v v'``, which starts as the identity.
        sides: whether only the layer's input is transformed, or also its output, before the bias.
        blocks: n, the diagonal blocks of H. It must divide the widths of all transformed sides.
        dropout: on the input of the whole layer, as in the authors' code.
        targets: the linear layers; all six as in the paper's GLUE runs.
    """

    family: ClassVar[str] = "bias"
    reference: ClassVar[str] = "Bini et al., ICML 2024, arXiv 2405.20271"
    checked_against: ClassVar[str] = (
        "Explicit block-diagonal matrices in float64 (tests/methods/test_ether.py)."
    )
    open_questions: ClassVar[str] = (
        "The released code cuts blocks differently. Its printed counts leave about 2 K values unexplained."
    )

    transform: Literal["reflection", "relaxed"] = "reflection"
    sides: Literal["input", "both"] = "input"
    blocks: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Target, ...] = Field(
        default=("query", "key", "value", "attention_output", "up", "down"), min_length=1
    )

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Transform each target of each block."""
        places = linears(parts, self.targets)
        modules = [ReflectedLinear(self, place.module.get_parameter("weight").shape) for place in places]
        return [ReflectedChange(place, module) for place, module in zip(places, modules, strict=True)]


class UnitVectors(Fp32Module):
    """One unit vector for each block of a space, in fp32, from trained vectors of any length.

    Args:
        start: the initial vectors (blocks, width / blocks).
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start)

    def forward(self) -> Tensor:
        """Return the unit vectors (blocks, width / blocks)."""
        return nn.functional.normalize(self.vectors, dim=-1)


class Reflection(nn.Module):
    """ETHER's H, with the update ``H x - x = -2 u (u . x)`` of each block's slice of x.

    Args:
        width: length of x.
        blocks: diagonal blocks of H.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.u = UnitVectors(_random_vectors(width, blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Return the update of x (..., width)."""
        return -2 * _project(x, self.u())


class RelaxedReflection(Reflection):
    """ETHER+'s H, with the update ``H x - x = v (v . x) - u (u . x)`` of each block's slice of x.

    It starts with ``v = -u``, where the update is exactly zero.

    Args:
        width: length of x.
        blocks: diagonal blocks of H.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__(width, blocks)
        self.v = UnitVectors(-self.u.vectors.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return the update of x (..., width)."""
        # v v' - u u' = (s d' + d s') / 2 with s = v + u and d = v - u. The left side is a difference of two
        # nearly equal matrices near the start, where v = -u. The right side has the small factor s instead,
        # so that no digits are lost, and at the start it is exactly zero.
        v, u = self.v(), self.u()
        pairs = torch.stack([v + u, v - u], dim=1).to(x.dtype)
        # One dense product with a block-diagonal matrix: n times the work, but on a CPU faster than n small
        # products.
        along = x @ torch.block_diag(*pairs).T
        return along @ torch.block_diag(*pairs.flip(1)) / 2


def _random_vectors(width: int, blocks: int) -> Tensor:
    if width % blocks:
        raise InputError(
            f"method.blocks={blocks} does not divide {width}, the width of a side that this method "
            "transforms. Allowed: common divisors of all such widths, such as 1."
        )
    return nn.init.kaiming_uniform_(torch.empty(blocks, width // blocks), a=math.sqrt(5))


def _project(x: Tensor, unit: Tensor) -> Tensor:
    unit = unit.to(x.dtype)
    along = torch.einsum("...ni,ni->...n", x.unflatten(-1, unit.shape), unit)
    return (along.unsqueeze(-1) * unit).flatten(-2)


class ReflectedLinear(Mergeable):
    """The transforms of one linear layer.

    Args:
        method: the hyper-parameters.
        shape: of the layer's weight (out, in).
    """

    def __init__(self, method: Ether, shape: torch.Size) -> None:
        super().__init__()
        transform = Reflection if method.transform == "reflection" else RelaxedReflection
        self.dropout = nn.Dropout(method.dropout)
        self.input = transform(shape[1], method.blocks)
        self.output = transform(shape[0], method.blocks) if method.sides == "both" else None

    def before(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the layer's input, transformed: a forward pre-hook of the layer."""
        # A change of the input before the layer has the same result as a change of its weight.
        x = self.dropout(inputs[0])
        return x + self.input(x)

    def after(self, linear: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return the layer's output, transformed without its bias: a forward hook of the layer."""
        if self.output is None:
            return output
        # G acts on W H x, not on the bias, so the bias is subtracted from the update's input.
        bias = getattr(linear, "bias", None)
        return output + self.output(output if bias is None else output - bias)

    def merged(self, weight: Tensor) -> Tensor:
        """Return the transformed weight."""
        # W H: the rows of W are transformed like inputs, since H is symmetric. G W: the same on W'.
        weight = weight + self.input(weight)
        return weight if self.output is None else weight + self.output(weight.T).T


class ReflectedChange(ModuleOnLinear):
    """A `ReflectedLinear` on its layer.

    Args:
        handle: the linear layer.
        module: its transforms.
    """

    def __init__(self, handle: Handle, module: ReflectedLinear) -> None:
        super().__init__(handle, module, module.after)
        self._before = handle.module.register_forward_pre_hook(module.before)

    def detach(self) -> None:
        """Remove the module and both hooks."""
        self._before.remove()
        super().detach()
