"""A bare backbone beside a state of a method, as often in memory as one likes."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from gluelamp.errors import InputError
from gluelamp.measurement.kind import Subject
from gluelamp.measurement.states import build_bare, moved, random_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE, CONTROL, CANDIDATE = "base", "control", "candidate"
"""The bare backbone, a second copy of it, and the method's state."""


class Pair:
    """The bare backbone with random weights, and a method on it with values moved as if by training.

    Args:
        subject: the backbone and the method.
        state: ``merged`` or ``unmerged``.
        length: tokens of the example that is read to compare outputs.

    Raises:
        InputError: if the method cannot serve the backbone, or cannot be merged and should be.
    """

    def __init__(self, subject: Subject, state: str, length: int) -> None:
        self._base = build_bare(subject.backbone)
        inputs = random_inputs(self._base, 1, length)
        adaptation = moved(subject.method, self._base)
        with torch.no_grad():
            bare, unmerged = (model.eval()(**inputs).logits for model in (self._base, adaptation.model))
            if state == "merged":
                try:
                    adaptation.merge()
                except InputError as error:
                    raise InputError(
                        f"method={subject.method.name} has no merged state that could be certified. {error} "
                        "certificate.state=unmerged compares it as it is, which fails."
                    ) from error
            self._candidate = adaptation.model.eval()
            now = self._candidate(**inputs).logits
        self.outputs = {
            "largest": float(unmerged.abs().max()),
            "changed_by_method": float((unmerged - bare).abs().max()),
            "changed_by_merging": float((now - unmerged).abs().max()),
        }
        """Of the head's outputs in fp32: the largest, and by how much they differ at most."""

    def copies(self, seed: int) -> dict[str, PreTrainedModel]:
        """Return new copies of `BASE`, `CONTROL` and `CANDIDATE`, made in an order drawn from a seed."""
        names = random.Random(seed).sample([BASE, CONTROL, CANDIDATE], 3)
        made = {name: deepcopy(self._candidate if name == CANDIDATE else self._base) for name in names}
        return {name: made[name] for name in (BASE, CONTROL, CANDIDATE)}
