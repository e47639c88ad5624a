"""The last block's feed-forward network, for the one token that the head reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy

_SUM = "attention.norm"  # what enters it is the residual stream between attention and feed-forward


@contextmanager
def first_token_only(model: PreTrainedModel) -> Iterator[None]:
    """Let a sequence classifier drop all tokens but the first after its last attention.

    Every post-LN encoder of the suite classifies by its first token, and after the last attention no
    token looks at another: the logits and gradients stay the same, for two thirds of a block less
    work. An encoder without the handle (ModernBERT, which may pool by the mean) is left as it is.

    Args:
        model: changed in place, and restored at the end.
    """
    last = anatomy(model).blocks[-1]
    if _SUM not in last.handles:
        yield
        return
    hook = last[_SUM].module.register_forward_pre_hook(_keep_first)
    try:
        yield
    finally:
        hook.remove()


def _keep_first(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    hidden, *rest = inputs
    return (hidden[:, :1], *rest)
