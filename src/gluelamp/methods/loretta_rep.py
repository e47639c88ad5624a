"""LoRETTA-rep (Yang et al., NAACL 2024, arXiv 2402.11417): LoRA with both matrices as tensor trains."""

from __future__ import annotations

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.adaptation import Change
from gluelamp.methods.base import Method
from gluelamp.methods.changes.linears import Mergeable, ModuleOnLinear, Target, check_rank, linears
from gluelamp.methods.changes.tensor_train import TensorTrainLinear
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LorettaRep(Method):
    """Add ``alpha / r * B A`` to some projections, A and B tensor trains; both start drawn.

    Trained on query and value: 4 L TT(d, r), where TT counts the cores (see `TensorTrain`): 580 at
    d = 768 and 640 at d = 1024. LayerNorms add 4 d L + 2 d.

    Args:
        rank: r, the width between A and B.
        alpha: numerator of the scaling.
        tensor_rank: of the tensor trains. The authors' default is 5; their shipped script runs 8.
        dropout: on the input of A.
        targets: the projections; query and value as in the authors' code.
        train_layer_norm: whether all LayerNorms of the encoder are trained too, as the authors' code
            does here; counts in other papers leave them out.
        identity_start: whether B starts at zero. The authors' code draws it, so that training does not
            start from the backbone.
    """

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    tensor_rank: int = Field(default=5, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[Target, ...] = Field(default=("query", "value"), min_length=1)
    train_layer_norm: bool = False
    identity_start: bool = False

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put an update on each target of each block, and open the LayerNorms."""
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
        method: the recipe.
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
