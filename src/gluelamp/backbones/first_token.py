"""Skipping the last feed-forward network for all tokens that the head does not read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Make a sequence classifier compute only the first token after its last attention.

    Every supported post-LN encoder classifies by its first token, and after the last attention the tokens do
    not interact. Therefore the logits and gradients are unchanged, and two thirds of the work of a block are
    saved. An encoder without the handle (ModernBERT, which may use mean pooling) is not changed, and neither
    is a model whose head reads other tokens.

    Args:
        model: changed in place, and restored at the end.
    """
    parts = anatomy(model)
    last = parts.blocks[-1]
    if not parts.classifies_texts or "attention.norm" not in last.handles:
        yield
        return
    # All tokens still go through the last attention, whose keys and values the first token needs.
    # The input of this norm is the residual stream between attention and the feed-forward network.
    hook = last["attention.norm"].module.register_forward_pre_hook(_first_token)
    try:
        yield
    finally:
        hook.remove()


def _first_token(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    hidden, *rest = inputs
    return (hidden[:, :1], *rest)
