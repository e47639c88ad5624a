"""LoRETTA-adp (Yang et al., NAACL 2024, arXiv 2402.11417): adapters with tensor-train projections."""

from __future__ import annotations

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.adaptation import Change
from gluelamp.methods.base import Method
from gluelamp.methods.changes.inserted import InsertedModule, residual
from gluelamp.methods.changes.tensor_train import TensorTrainLinear
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LorettaAdp(Method):
    """Insert ``h + up(ReLU(down(h)))`` after the linear layers that end attention and feed-forward.

    The places are Houlsby's, before dropout and residual sum; both projections are tensor trains with
    dense biases. Trained: 2 L (2 TT(d, b) + b + d), where TT counts the cores (see `TensorTrain`): 780
    at d = 768 and 840 at d = 1024 for b = 64. LayerNorms add 4 d L + 2 d.

    Args:
        bottleneck: b.
        tensor_rank: of the tensor trains. The authors' default is 5; their shipped script runs 8.
        train_layer_norm: whether all LayerNorms of the encoder are trained too. The authors' code means
            to train them, and by a slip leaves them frozen.
        identity_start: whether ``up`` starts at zero. The authors' code draws it, so that training does
            not start from the backbone.
    """

    bottleneck: int = Field(default=64, ge=1)
    tensor_rank: int = Field(default=5, ge=1)
    train_layer_norm: bool = False
    identity_start: bool = False

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert the adapters, and open the LayerNorms."""
        changes: list[Change] = [
            InsertedModule(block[linear], adapter, residual(adapter))
            for block in parts.blocks
            for linear in ("attention.output", "ffn.down")
            for adapter in [TensorTrainAdapter(self, model.config.hidden_size)]
        ]
        if self.train_layer_norm:
            changes += replace_tensors(model, layer_norm_names(model, parts))
        return changes


class TensorTrainAdapter(nn.Module):
    """``up(ReLU(down(h)))``, the adapter without its residual.

    Args:
        method: the recipe.
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
