"""AdapterBias (Fu et al., Findings of NAACL 2022, arXiv 2205.00305): one shift vector, scaled for each token.

The formula and the initial values are those of the authors' released code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Block
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inserted import InsertedModule
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors, weight_and_bias


class AdapterBias(Method):
    """Add ``alpha(g) v`` to each layer's feed-forward branch, after its dropout.

    g is the inner activation, which is also the input of the down projection W2, and alpha(g) = w g + beta is
    one number per token. v and beta are zero at the start, w is random. Without dropout the layer is
    therefore ``(W2 + v w^T) g + (b2 + beta v)``: it merges exactly.

    Trained: L (d + f + 1), or L d + f + 1 with a shared alpha; the LayerNorms add 2 d L + 2 d.

    Args:
        share_alpha: whether all layers have one alpha; False is the default of the released code.
        train_layer_norm: whether the LayerNorm after each feed-forward network and that of the
            embeddings are trained too, as the released code does. Those after attention stay frozen.
        init_std: standard deviation of w; 0.02 is BERT's own for new linear layers, which the released
            code's loading applies.
    """

    family: ClassVar[str] = "bias"
    reference: ClassVar[str] = "Fu et al., Findings of NAACL 2022, arXiv 2205.00305"
    checked_against: ClassVar[str] = (
        "The formula and the matrix of rank one (tests/methods/test_adapter_bias.py)."
    )
    open_questions: ClassVar[str] = "Whether the printed counts include the LayerNorms."

    share_alpha: bool = False
    train_layer_norm: bool = True
    init_std: float = Field(default=0.02, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put a shift on each feed-forward branch, and train the LayerNorms if ``train_layer_norm``."""
        norms = self._layer_norms(model, parts) if self.train_layer_norm else []
        width, inner = model.get_parameter(f"{parts.blocks[0]['ffn.down'].path}.weight").shape
        # With a shared alpha the first block owns the one linear map, else each block owns its own.
        owners = parts.blocks[:1] if self.share_alpha else parts.blocks
        alphas = [self._alpha(inner) for _ in owners]
        shifts = [
            TokenShiftChange(block, TokenShift(width, alphas[number % len(alphas)]), number < len(alphas))
            for number, block in enumerate(parts.blocks)
        ]
        return [*shifts, *replace_tensors(model, norms)]

    def _alpha(self, inner: int) -> nn.Linear:
        alpha = nn.Linear(inner, 1)
        nn.init.normal_(alpha.weight, std=self.init_std)
        nn.init.zeros_(alpha.bias)
        return alpha

    def _layer_norms(self, model: PreTrainedModel, parts: Anatomy) -> list[str]:
        # Names below the embeddings and below each block's last LayerNorm.
        trained = (parts.embeddings, *(block["ffn.norm"] for block in parts.blocks))
        within = tuple(f"{handle.path}." for handle in trained)
        return [name for name in layer_norm_names(model, parts) if name.startswith(within)]


class TokenShift(nn.Module):
    """``h + alpha(g) v``, for the output h of a branch and the input g of its last projection.

    Args:
        width: d, the size of v.
        alpha: the linear map (f -> 1).
    """

    def __init__(self, width: int, alpha: nn.Linear) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(width))
        self.alpha = alpha

    def forward(self, branch: Tensor, inner: Tensor) -> Tensor:
        """Return the branch's output (..., d), shifted according to its projection's input (..., f)."""
        return branch + self.alpha(inner) * self.vector


class TokenShiftChange(InsertedModule):
    """A `TokenShift` on a feed-forward branch, which merges into the down projection.

    Args:
        block: the block of the branch.
        shift: the module.
        owns_alpha: whether alpha is counted and stored with this block; False for a shared alpha, which
            belongs to the first block.
    """

    def __init__(self, block: Block, shift: TokenShift, owns_alpha: bool) -> None:
        self.projection = block["ffn.down"]
        self.shift = shift
        self.owns_alpha = owns_alpha
        # g, from the projection until the end of its branch.
        self._inputs: list[Tensor] = []
        super().__init__(block["ffn.branch"], shift, self._shift)
        self._reading = self.projection.module.register_forward_pre_hook(self._read)

    def _read(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Assigned, not appended: a failed pass may have left a tensor.
        self._inputs[:] = inputs[:1]

    def _shift(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return self.shift(output, self._inputs.pop())

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return v, and alpha if it belongs to this block."""
        return {n: p for n, p in super().parameters().items() if self.owns_alpha or ".alpha." not in n}

    def merge(self) -> None:
        """Add a matrix of rank one to the down projection's weight, and a vector to its bias."""
        weight, bias = weight_and_bias(self.projection)
        v, alpha = self.shift.vector, self.shift.alpha
        with torch.no_grad():
            # (w g + beta) v = (v w') g + beta v: linear in the projection's input g.
            weight.add_(torch.outer(v, alpha.weight[0]))
            bias.add_(alpha.bias * v)
        self.detach()

    def detach(self) -> None:
        """Remove the module and both hooks."""
        self._reading.remove()
        super().detach()
