"""Dropout at the price of the random bits.

On a CPU a third of a bf16 training step of a small encoder goes into ``aten::bernoulli_``, which draws
one float per element. Here a mask element costs 16 random bits: a 64-bit draw gives four of them, and
a comparison with a threshold gives the mask. The keep probability is exact to 2^-16.

On other devices torch's own dropout is fast, and is used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

ATTENTION = "gluelamp_eager"
_LEVELS = 2**16
_INT16_MIN = -(2**15)


class DropoutMasks:
    """The seeded source of the masks of one model's dropout modules on a CPU.

    Args:
        seed: two sources with the same seed give the same masks in the same order.
    """

    def __init__(self, seed: int) -> None:
        self.bits = np.random.SFC64(seed)  # twice as fast as torch's generator

    def draw(self, shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
        """Return a mask of ``shape``: 0 with probability ``p``, else 1 / (1 - p)."""
        count = math.prod(shape)
        words = self.bits.random_raw((count + 3) // 4)
        drawn = torch.from_numpy(words.view(np.int16)[:count]).view(shape)
        mask = torch.empty(shape, dtype=dtype)
        torch.ge(drawn, _INT16_MIN + round(p * _LEVELS), out=mask)
        return mask.mul_(1 / (1 - p))

    def state(self) -> Tensor:
        """Return where the source stands, (4,) int64, for a checkpoint."""
        return torch.from_numpy(self.bits.state["state"]["state"].view(np.int64).copy())

    def load_state(self, state: Tensor) -> None:
        """Go on from where `state` stood."""
        known = self.bits.state
        self.bits.state = known | {"state": {"state": state.numpy().view(np.uint64)}}


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` with masks from a `DropoutMasks` source on a CPU.

    Args:
        p: probability of dropping an element.
        masks: the model's source of masks.
    """

    def __init__(self, p: float, masks: DropoutMasks) -> None:
        super().__init__(p)
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with elements dropped and the rest scaled, in training; ``x`` otherwise."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        return x * self.masks.draw(x.shape, self.p, x.dtype)


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, Tensor]:
    """Softmax attention, step by step, with the module's own dropout.

    For the short sequences of GLUE on a CPU this trains faster than a fused kernel, whose training
    path without fusion is slower than the plain products.

    Args:
        module: the attention module; its ``dropout`` is used when it has one.
        query: (batch, heads, length, head size).
        key: (batch, heads, length, head size).
        value: (batch, heads, length, head size).
        attention_mask: additive mask, broadcastable to (batch, heads, length, length), or None.
        scaling: factor on the scores; 1 / sqrt(head size) by default.
        dropout: dropout probability, for modules without a dropout module of their own.

    Returns:
        The context (batch, length, heads, head size) and the attention weights.
    """
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    own = getattr(module, "dropout", None)
    if isinstance(own, nn.Dropout):
        dropped = own(weights)
    else:
        dropped = nn.functional.dropout(weights, dropout, module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), weights


def additive_mask(*arguments: Any, dtype: torch.dtype, **options: Any) -> Tensor | None:
    """Return transformers' mask as a summand of the scores: 0 or the lowest number, or None without padding.

    Its own ``eager_mask`` copied a zero from the host up to 5.17, which no CUDA graph can hold.

    Args:
        arguments: of transformers' mask functions.
        dtype: of the scores.
        options: likewise.
    """
    allowed = sdpa_mask(*arguments, **options)
    if allowed is None:
        return None
    zero = torch.zeros((), dtype=dtype, device=allowed.device)
    return torch.where(allowed, zero, torch.finfo(dtype).min)


AttentionInterface.register(ATTENTION, attention_forward)
AttentionMaskInterface.register(ATTENTION, additive_mask)


def install_dropout(model: nn.Module, seed: int) -> DropoutMasks:
    """Let every dropout module of a model draw from one seeded source on a CPU.

    Torch's global generator serves other devices, and ModernBERT's attention weights everywhere: for
    them it has a probability and no module. Where stacked profiles pass through a module that owns
    trained values, one mask serves all of them: each is right by itself, but they are correlated.

    Args:
        model: changed in place.
        seed: of the source.

    Returns:
        The source; its state belongs into a checkpoint.
    """
    masks = DropoutMasks(seed)
    for module in model.modules():
        if type(module) in (nn.Dropout, Dropout):
            # The object stays: a method's hook or adapter may hang on it.
            module.__class__ = Dropout
            vars(module)["masks"] = masks
    return masks


def set_dropout(model: nn.Module, p: float) -> None:
    """Set the probability of every dropout of a model, attention's included.

    A dropout that the model was built without is not reached: ModernBERT has an identity behind its
    attention where the probability in its configuration is 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p
        if isinstance(getattr(module, "attention_dropout", None), float):
            vars(module)["attention_dropout"] = p
