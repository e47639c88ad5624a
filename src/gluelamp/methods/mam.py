"""MAM, mix and match (He et al., ICLR 2022, arXiv 2110.04366): a prefix and a parallel adapter."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.parallel import Parallel
from gluelamp.methods.prefix import Prefix


class MAM(Method):
    """Attend to a trained prefix of length q, and add an adapter parallel to the feed-forward network.

    Stored: 2 L d q + L (2 d b + b + d). Trained: the same, or with a network of width m that computes the
    prefix, q d + m (d + 1) + 2 L d (m + 1) + L (2 d b + b + d). The defaults are those of the authors'
    GLUE script.

    Args:
        length: q.
        prefix_bottleneck: m; no network if None.
        prefix_init_std: see `gluelamp.methods.prefix.Prefix`.
        bottleneck: b, of the adapter.
        scale: factor on the adapter's update.
        dropout: between the adapter's projections.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "He et al., ICLR 2022, arXiv 2110.04366"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "A prefix and a parallel adapter put together (tests/methods/test_mam.py)."
    )

    length: int = Field(default=16, ge=1)
    prefix_bottleneck: int | None = Field(default=800, ge=1)
    prefix_init_std: float = Field(default=1.0, gt=0)
    bottleneck: int = Field(default=16, ge=1)
    scale: float = Field(default=2.0, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Make the changes of both methods."""
        # Both are complete methods; their changes are independent of each other.
        prefix = Prefix(
            length=self.length,
            bottleneck=self.prefix_bottleneck,
            init_std=self.prefix_init_std,
        )
        adapter = Parallel(
            bottleneck=self.bottleneck,
            scale=self.scale,
            dropout=self.dropout,
        )
        return [*prefix.changes(model, parts), *adapter.changes(model, parts)]
