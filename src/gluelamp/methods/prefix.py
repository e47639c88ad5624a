"""Prefix tuning (Li, Liang, ACL 2021, arXiv 2101.00190; for encoders P-tuning v2, arXiv 2110.07602).

In every block each token also attends to trained keys and values. These have no position: the positions of
the tokens do not change, and rotary or windowed attention does not apply to the prefix. (The released code of
P-tuning v2 and Hugging Face ``peft`` shift the position embeddings of the tokens by the prefix's
length. P-tuning v2 also applies dropout to the prefix, which is not done here.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.backbones.dropout import additive_mask, attention_forward
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change, Fp32Buffer
from gluelamp.methods.changes.inputs import InputChange, TrainedInput, TrainedTensor

ATTENTION = "gluelamp_prefixed"


class Prefix(Method):
    """Put q trained keys and values before those of the tokens, in every block.

    Trained: 2 L d q; with a network of width m that computes the prefix, q d + m (d + 1) + 2 L d (m + 1).
    Stored in both cases: 2 L d q. A stored prefix can be used, but not trained further with its network.

    Args:
        length: q.
        bottleneck: m, of ``up(tanh(down(e)))`` over q trained embeddings e of size d; no network
            if None.
        init_std: standard deviation of the prefix, or of e. The default is that of P-tuning v2 and
            ``peft``. The authors of MAM use 0.02 for a prefix without a network.
    """

    family: ClassVar[str] = "prompt"
    reference: ClassVar[str] = "Li, Liang, ACL 2021, arXiv 2101.00190; P-tuning v2, arXiv 2110.07602"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "`peft`, and attention over additional keys in float64 (tests/methods/test_prefix.py)."
    )
    open_questions: ClassVar[str] = "`peft` shifts the positions of the tokens. Here they stay."

    length: int = Field(default=10, ge=1)
    bottleneck: int | None = Field(default=None, ge=1)
    init_std: float = Field(default=1.0, gt=0)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Make every block attend to its part of the prefix."""
        attentions = [block["attention.function"].module for block in parts.blocks]
        layers, width = len(attentions), model.config.hidden_size
        if self.bottleneck is None:
            shape = (layers, 2, self.length, width)
            prefix: FlatPrefix | ComputedPrefix = FlatPrefix(torch.empty(shape).normal_(0, self.init_std))
        else:
            start = torch.empty(self.length, width).normal_(0, self.init_std)
            prefix = ComputedPrefix(start, layers, self.bottleneck)
        # The prefix acts through an attention implementation of its own, registered below.
        before = model.config._attn_implementation
        for layer, attention in enumerate(attentions):
            # In the instance's dictionary, not as a submodule: one module, below the embeddings, holds the
            # values of all blocks.
            vars(attention)["prefix"] = partial(prefix, layer)
        model.set_attn_implementation(ATTENTION)
        remove = partial(_remove, model, attentions, before)
        return [InputChange(parts.embeddings, "prefix", prefix, remove)]


def _remove(model: PreTrainedModel, attentions: list[nn.Module], before: str) -> None:
    model.set_attn_implementation(before)
    for attention in attentions:
        del vars(attention)["prefix"]


class FlatPrefix(TrainedTensor):
    """The prefix of all blocks, (L, 2, q, d), trained directly."""

    def forward(self, layer: int) -> Tensor:
        """Return the keys and the values of one block, (2, q, d)."""
        return self.values[layer]


class ComputedPrefix(TrainedInput):
    """A prefix that a network computes. A loaded prefix replaces the network.

    Args:
        start: the first values of the embeddings (q, d).
        layers: L.
        bottleneck: width of the network.
    """

    loaded: Fp32Buffer | None

    def __init__(self, start: Tensor, layers: int, bottleneck: int) -> None:
        super().__init__()
        width = start.shape[1]
        self.embeddings = nn.Parameter(start)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.ModuleList(nn.Linear(bottleneck, 2 * width) for _ in range(layers))
        self.loaded = None

    def forward(self, layer: int) -> Tensor:
        """Return the keys and the values of one block, (2, q, d)."""
        # In the type of the pass: a loaded prefix stays in fp32.
        if self.loaded is not None:
            return self.loaded.values[layer].to(self.embeddings)
        both = self.up[layer](torch.tanh(self.down(self.embeddings)))
        return both.unflatten(-1, (2, -1)).transpose(0, 1)

    def stored(self) -> Tensor:
        """Return the prefix (L, 2, q, d)."""
        if self.loaded is not None:
            return self.loaded.values
        return torch.stack([self(layer) for layer in range(len(self.up))])

    def load(self, stored: Tensor) -> None:
        """Replace the network by a stored prefix."""
        self.loaded = Fp32Buffer(stored.to(self.embeddings.device))


def attention_with_prefix(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Compute attention over a prefix and the tokens; see `gluelamp.backbones.dropout.attention_forward`.

    Args:
        module: the attention module; ``module.prefix()`` gives its keys and values (2, q, d).
        query: (batch, heads, length, head size).
        key: (batch, heads, length, head size).
        value: (batch, heads, length, head size).
        attention_mask: additive mask over the tokens, or None.
        options: of ``attention_forward``.
    """
    compute: Callable[[], Tensor] = vars(module)["prefix"]
    # (2, q, d) -> (2, heads, q, head size), the same for every example of the batch.
    prefix = compute().unflatten(-1, key.shape[1::2]).transpose(1, 2)
    prefix_key, prefix_value = prefix.unsqueeze(1).expand(-1, len(key), -1, -1, -1)
    if attention_mask is not None:
        # An additive mask: zeros let every token attend to the prefix.
        # The prefix is not masked.
        attention_mask = nn.functional.pad(attention_mask, (prefix.shape[2], 0))
    key, value = torch.cat([prefix_key, key], dim=2), torch.cat([prefix_value, value], dim=2)
    return attention_forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register(ATTENTION, attention_with_prefix)
AttentionMaskInterface.register(ATTENTION, additive_mask)
