"""The feed-forward biases alone: the control for HiWi on biases, which stores the same values."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.tensors import replace_tensors


class FeedForwardBias(Method):
    """Train the biases of both feed-forward projections directly, without HiWi's adapter.

    Trained and stored: L (d + f) values.
    """

    family: ClassVar[str] = "bias"
    checked_against: ClassVar[str] = "The values that HiWi stores (tests/methods/test_ffn_bias.py)."

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Replace both biases of each block by trained ones."""
        # The same tensors as HiWi on biases: trained directly, they need no adapter.
        layers = ("ffn.up", "ffn.down")
        return [*replace_tensors(model, [f"{b[layer].path}.bias" for b in parts.blocks for layer in layers])]
