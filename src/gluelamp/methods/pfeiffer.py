"""The Pfeiffer adapter (Pfeiffer et al., EACL 2021, arXiv 2005.00247): one adapter per layer."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inserted import (
    Bottleneck,
    InsertedModule,
    between_norms,
    reduced_width,
)


class Pfeiffer(Method):
    """Insert ``up(ReLU(down(h)))`` after the feed-forward network of each layer.

    The wiring is that of ``seq_bn`` in the ``adapters`` library. Trained: L (2 d b + b + d).

    Args:
        reduction_factor: hidden size over bottleneck.
        init_std: standard deviation of both projections at the start.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "Pfeiffer et al., EACL 2021, arXiv 2005.00247"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "The `adapters` library: outputs and gradients at equal values "
        "(tests/methods/test_adapters_parity.py); one BERT layer in float64 "
        "(tests/methods/test_wiring.py)."
    )

    reduction_factor: int = Field(default=16, ge=1)
    init_std: float = Field(default=0.02, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert the adapters."""
        width = model.config.hidden_size
        bottleneck = reduced_width(width, self.reduction_factor)
        init = partial(nn.init.normal_, std=self.init_std)
        return [
            # Between two passes of the block's last LayerNorm, so the backbone's own norm is used twice.
            InsertedModule(block["ffn.norm"], adapter, between_norms(adapter))
            for block in parts.blocks
            for adapter in [Bottleneck(width, bottleneck, nn.ReLU(), init)]
        ]
