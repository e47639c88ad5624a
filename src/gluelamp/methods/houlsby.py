"""The Houlsby adapter (Houlsby et al., ICML 2019, arXiv 1902.00751): two adapters per layer."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inserted import Bottleneck, InsertedModule, residual
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


class Houlsby(Method):
    """Insert ``h + up(GELU(down(h)))`` on both branches of each layer, before the residual sum.

    Figure 2 of the paper.

    Trained: 2 L (2 d b + b + d) for the adapters, and 4 d L + 2 d for the LayerNorms.

    Args:
        bottleneck: b.
        train_layer_norm: whether all LayerNorms of the encoder are trained too, as in the paper.
        init_std: standard deviation of both projections at the start, a normal distribution truncated at
            two standard deviations.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Houlsby et al., ICML 2019, arXiv 1902.00751"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "The `adapters` library: outputs and gradients at equal values "
        "(tests/methods/test_adapters_parity.py); one BERT layer in float64 "
        "(tests/methods/test_wiring.py)."
    )
    open_questions: ClassVar[str] = (
        "The library's default activation differs from the paper's. The paper's is taken."
    )

    bottleneck: int = Field(default=64, ge=1)
    train_layer_norm: bool = True
    init_std: float = Field(default=1e-3, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert the adapters, and train the LayerNorms if ``train_layer_norm``."""
        # Small values: an adapter is close to the identity at the start.
        init = partial(nn.init.trunc_normal_, std=self.init_std, a=-2 * self.init_std, b=2 * self.init_std)
        width = model.config.hidden_size
        changes: list[Change] = [
            InsertedModule(block[branch], adapter, residual(adapter))
            for block in parts.blocks
            for branch in ("attention.branch", "ffn.branch")
            for adapter in [Bottleneck(width, self.bottleneck, nn.GELU(), init)]
        ]
        if self.train_layer_norm:
            changes += replace_tensors(model, layer_norm_names(model, parts))
        return changes
