"""Compacter (Karimi Mahabadi, Henderson, Ruder, NeurIPS 2021, arXiv 2106.04647).

The projections of an adapter are sums of Kronecker products (PHM layers). One factor of each
product is shared by all adapters of the network, the other has rank one. Initialisation is that of the
authors' code. GELU is exact here; the authors' configurations of T5 use its tanh approximation.
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
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.forms import Kronecker, Projections
from gluelamp.methods.changes.inserted import Adapter, InsertedModule, reduced_width, residual
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


class Compacter(Method):
    """Insert ``h + up(GELU(down(h)))`` at the Houlsby positions, with PHM layers as projections.

    Trained: 3 (d + b) for each adapter, of which there are two per layer (Compacter) or one (Compacter++),
    and n^3 for the shared rule. LayerNorms add 4 d L + 2 d.

    Args:
        summands: n, the number of Kronecker products; it divides hidden size and bottleneck.
        reduction_factor: hidden size over bottleneck.
        places: ``both`` branches of each layer, or the ``ffn`` branch alone (Compacter++).
        rule_std: standard deviation of the shared rule at the start. No projection is zero at the start, so
            this small value alone makes an adapter's first update small.
        train_layer_norm: whether all LayerNorms of the encoder are trained too, as the authors train
            those of T5.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Karimi Mahabadi, Henderson, Ruder, NeurIPS 2021, arXiv 2106.04647"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "The `adapters` library: outputs and gradients at equal values "
        "(tests/methods/test_adapters_parity.py); dense Kronecker products "
        "(tests/methods/test_compacter.py)."
    )
    open_questions: ClassVar[str] = (
        "The library places Compacter++ differently from the paper. The paper's placement is taken."
    )

    summands: int = Field(default=4, ge=1)
    reduction_factor: int = Field(default=32, ge=1)
    places: Literal["both", "ffn"] = "both"
    rule_std: float = Field(default=1e-4, gt=0)
    train_layer_norm: bool = False

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert the adapters, and train the LayerNorms if ``train_layer_norm``."""
        width = model.config.hidden_size
        bottleneck = self._bottleneck(width)
        # One rule for the whole network: the same Parameter object in every adapter.
        rule = nn.Parameter(torch.empty(self.summands, self.summands, self.summands))
        nn.init.normal_(rule, std=self.rule_std)
        branches = ("attention.branch", "ffn.branch") if self.places == "both" else ("ffn.branch",)
        handles = [block[branch] for block in parts.blocks for branch in branches]
        changes: list[Change] = [
            # the shared rule is counted and stored with the first adapter
            CompacterChange(handle, KroneckerAdapter(width, bottleneck, rule), owns_rule=not number)
            for number, handle in enumerate(handles)
        ]
        if self.train_layer_norm:
            changes += replace_tensors(model, layer_norm_names(model, parts))
        return changes

    def _bottleneck(self, width: int) -> int:
        bottleneck = reduced_width(width, self.reduction_factor)
        if width % self.summands or bottleneck % self.summands:
            raise InputError(
                f"method.summands={self.summands} must divide the hidden size, here {width}, and the "
                f"bottleneck, here {bottleneck} (hidden size over method.reduction_factor="
                f"{self.reduction_factor}). Take another reduction factor or fewer summands."
            )
        return bottleneck


class KroneckerLinear(nn.Module):
    """``x W + bias`` with ``W = sum_i A_i (x) s_i t_i^T``, which is never computed as a matrix.

    Entry (a p, b q) of W is ``sum_i A_i[a, b] s_i[p] t_i[q]``. Applied factor by factor, a token costs
    n (inputs + outputs) + n^3 multiplications instead of inputs * outputs.

    Args:
        inputs: divisible by n.
        outputs: divisible by n.
        summands: n.
    """

    def __init__(self, inputs: int, outputs: int, summands: int) -> None:
        super().__init__()
        self.left = nn.Parameter(_glorot(summands, inputs // summands))
        self.right = nn.Parameter(_glorot(summands, outputs // summands))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, rule: Tensor) -> Tensor:
        """Return the projection of x (..., inputs); ``rule`` holds the A_i (n, n, n)."""
        # x is n blocks of size inputs / n. Each is multiplied by the n left vectors s_i, then the rule mixes
        # blocks and summands, then the right vectors t_i expand each block: W is never built.
        by_block = x.unflatten(-1, (len(rule), -1)) @ self.left.T  # (..., a, i)
        mixed = torch.einsum("...ai,iab->...bi", by_block, rule)
        return (mixed @ self.right).flatten(-2) + self.bias


def _glorot(summands: int, size: int) -> Tensor:
    """Return random vectors as in the authors' code: each as a separate matrix, with gain sqrt(2)."""
    # Glorot's bound for a matrix of size (size, 1).
    bound = math.sqrt(2) * math.sqrt(6 / (size + 1))
    return torch.empty(summands, size).uniform_(-bound, bound)


class KroneckerAdapter(Adapter):
    """``up(GELU(down(h)))`` with both projections as `KroneckerLinear`.

    Args:
        width: size of h.
        bottleneck: size between the projections.
        rule: the A_i (n, n, n); the same tensor in all adapters of a network.
    """

    def __init__(self, width: int, bottleneck: int, rule: nn.Parameter) -> None:
        super().__init__()
        self.rule = rule
        self.down = KroneckerLinear(width, bottleneck, len(rule))
        self.up = KroneckerLinear(bottleneck, width, len(rule))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., width)."""
        inner = nn.functional.gelu(self.down(hidden, self.rule))
        return self.up(inner, self.rule)

    def projections(self) -> Projections:
        """Return the factors of both projections."""
        down, up = (Kronecker(self.rule, layer.left, layer.right) for layer in (self.down, self.up))
        return Projections(down, self.down.bias, up, self.up.bias, "gelu")


class CompacterChange(InsertedModule):
    """An inserted `KroneckerAdapter`.

    Args:
        handle: the part whose forward hook runs the adapter.
        adapter: the adapter.
        owns_rule: whether the shared rule is counted and stored with this adapter.
    """

    def __init__(self, handle: Handle, adapter: KroneckerAdapter, *, owns_rule: bool) -> None:
        super().__init__(handle, adapter, residual(adapter))
        self._owns_rule = owns_rule

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the adapter's trainable values."""
        values = super().parameters()
        # Else the optimiser and the task state would contain the rule once per adapter.
        if not self._owns_rule:
            del values[f"{self.name}.rule"]
        return values
