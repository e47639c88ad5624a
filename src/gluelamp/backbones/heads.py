"""The two classification heads: that of ``transformers`` with two layers, and a single linear layer."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

from torch import Tensor, nn
from transformers import PreTrainedModel

HeadType = Literal["linear", "two_layer"]
"""``two_layer``: the head of ``transformers``, of which every layer is trained. It is a dense layer (the
pre-trained pooler of BERT and ModernBERT, else a new layer), an activation and a linear layer.
``linear``: one linear layer, after the frozen pooler if there is one, else on the first token."""


class LinearHead(nn.Linear):
    """The only trained layer of a linear head; `gluelamp.backbones.anatomy` recognises the head by it."""


class FirstToken(nn.Module):
    """Return the hidden state of the first token."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (batch, width) from hidden states (batch, tokens, width)."""
        return hidden[:, 0]


# Each of the following functions makes the head of a sequence classifier linear, in place. The layer keeps
# its initial values, so that a seed gives the same layer with both heads.


def freeze_pooler(model: PreTrainedModel) -> None:
    """Make the classifier the only trained layer, after a pre-trained pooler that stays frozen."""
    _mark(model.classifier)


def remove_pooler(model: PreTrainedModel) -> None:
    """Replace a new pooler by the first token."""
    model.pooler = FirstToken()
    _mark(model.classifier)


def remove_dense(model: PreTrainedModel) -> None:
    """Remove the dense layer of a classifier that reads the hidden states of all tokens."""
    head: Any = model.classifier
    layers = {"first_token": FirstToken(), "dropout": head.dropout, "out_proj": _mark(head.out_proj)}
    model.classifier = nn.Sequential(OrderedDict(layers))


def _mark(layer: Any) -> Any:
    layer.__class__ = LinearHead
    return layer
