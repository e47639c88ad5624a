"""Fast dropout on a CPU, and an attention function that uses it.

On a CPU, ``aten::bernoulli_`` takes a third of a bf16 training step of a small encoder, since it generates
one random float per element. Here an element of a mask costs 16 random bits: one 64-bit random number gives
four elements, and a comparison with a threshold gives the mask. The dropout probability is exact to 2^-16.

On other devices torch's own dropout is fast, and is used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

ATTENTION = "gluelamp_eager"
_LEVELS = 2**16
_INT16_MIN = -(2**15)


class DropoutMasks:
    """The seeded generator of the masks of all dropout modules of a model on a CPU.

    Args:
        seed: two generators with the same seed give the same masks in the same order.
    """

    def __init__(self, seed: int) -> None:
        self.bits = np.random.SFC64(seed)  # twice as fast as torch's generator

    def sample(self, shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
        """Return a mask of ``shape``: 0 with probability ``p``, otherwise 1 / (1 - p)."""
        count = math.prod(shape)
        words = self.bits.random_raw((count + 3) // 4)
        # Each 64-bit word gives four uniform int16 numbers. A fraction p of all int16 values is below the
        # threshold, and these elements are dropped.
        numbers = torch.from_numpy(words.view(np.int16)[:count]).view(shape)
        mask = torch.empty(shape, dtype=dtype)
        torch.ge(numbers, _INT16_MIN + round(p * _LEVELS), out=mask)
        return mask.mul_(1 / (1 - p))

    def state(self) -> Tensor:
        """Return the state of the generator, (4,) int64, for a checkpoint."""
        return torch.from_numpy(self.bits.state["state"]["state"].view(np.int64).copy())

    def load_state(self, state: Tensor) -> None:
        """Restore a state that `state` returned."""
        self.bits.state = self.bits.state | {"state": {"state": state.numpy().view(np.uint64)}}


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` that takes its masks from `DropoutMasks` on a CPU.

    Args:
        p: probability of dropping an element.
        masks: the model's generator of masks.
    """

    def __init__(self, p: float, masks: DropoutMasks) -> None:
        super().__init__(p)
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        """In training, return ``x`` with elements dropped and the rest scaled; otherwise return ``x``."""
        if not self.training or self.p == 0:
            return x
        # The generator is on the CPU: copying its masks would cost more than torch's own kernel.
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        return x * self.masks.sample(x.shape, self.p, x.dtype)


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
    """Softmax attention without a fused kernel, with the module's own dropout.

    On a CPU, for the short sequences of GLUE, this trains faster than ``scaled_dot_product_attention`` of
    torch, which is not fused in training and then slower than these matrix products.

    Args:
        module: the attention module; its ``dropout`` is used when it has one.
        query: (batch, heads, length, head size).
        key: (batch, heads, length, head size).
        value: (batch, heads, length, head size).
        attention_mask: mask added to the scores, broadcastable to (batch, heads, length, length), or None.
        scaling: factor on the scores; 1 / sqrt(head size) by default.
        dropout: dropout probability, for attention modules without a dropout module.

    Returns:
        The context (batch, length, heads, head size) and the attention weights.
    """
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    # The query is scaled and not the scores. It has fewer elements in sequences longer than the head size.
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    own_dropout = getattr(module, "dropout", None)
    if isinstance(own_dropout, nn.Dropout):
        dropped = own_dropout(weights)
    else:
        dropped = nn.functional.dropout(weights, dropout, module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), weights


def additive_mask(*arguments: Any, dtype: torch.dtype, **options: Any) -> Tensor | None:
    """Return the attention mask that is added to the scores: 0 or the lowest number; None without padding.

    Up to version 5.17, the ``eager_mask`` of transformers copies a zero from the host, which a CUDA graph
    cannot capture.

    Args:
        arguments: positional arguments of the mask functions of transformers.
        dtype: dtype of the scores.
        options: keyword arguments of the mask functions.
    """
    allowed = sdpa_mask(*arguments, **options)
    if allowed is None:
        return None
    zero = torch.zeros((), dtype=dtype, device=allowed.device)
    return torch.where(allowed, zero, torch.finfo(dtype).min)


# transformers finds both by the name in the model's configuration; see `set_attention`.
AttentionInterface.register(ATTENTION, attention_forward)
AttentionMaskInterface.register(ATTENTION, additive_mask)


def install_dropout(model: nn.Module, seed: int) -> DropoutMasks:
    """Make every dropout module of a model take its masks from one seeded generator on a CPU.

    Other devices use torch's global generator. So do ModernBERT's attention weights on every device, since
    they have a dropout probability but no dropout module. Stacked profiles that pass through a module with
    trained values share one mask: the dropout of each profile is correct, but their masks are correlated.

    Args:
        model: changed in place.
        seed: seed of the generator.

    Returns:
        The generator. Its state belongs in a checkpoint.
    """
    masks = DropoutMasks(seed)
    for module in model.modules():
        if type(module) in (nn.Dropout, Dropout):
            # The class is changed in place, since a method may have hooks on this module.
            module.__class__ = Dropout
            vars(module)["masks"] = masks
    return masks


def set_dropout(model: PreTrainedModel, p: float) -> None:
    """Set the probability of every dropout in a model, including that of attention, and its configuration.

    This has no effect where the model was built without a dropout module: ModernBERT has an identity after
    its attention if the probability in its configuration is 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p
        if isinstance(getattr(module, "attention_dropout", None), float):
            vars(module)["attention_dropout"] = p
    for name, value in vars(model.config).items():
        if "dropout" in name and isinstance(value, float | int):  # without one, classifier_dropout is None
            setattr(model.config, name, p)
