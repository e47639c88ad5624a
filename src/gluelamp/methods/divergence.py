"""How far the outputs of two passes over the same batch lie apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gluelamp.errors import InputError


def kl_divergence(target: Tensor, outputs: Tensor) -> Tensor:
    """Return KL(target || outputs) between the classes' probabilities, the mean over the batch, in nats.

    Args:
        target: (batch, classes) logits; no gradient reaches them.
        outputs: (batch, classes) logits.
    """
    known, found = (torch.log_softmax(logits, -1) for logits in (target.detach(), outputs))
    return nn.functional.kl_div(found, known, reduction="batchmean", log_target=True)


def no_classes(kind: str, setting: str, instead: str) -> InputError:
    """Return what to raise where a setting needs class probabilities and the task has none."""
    return InputError(
        f"{setting} compares the probabilities of one task's classes, but the outputs of a {kind} are not "
        f"those. Take {instead}."
    )
