"""`Selection`: what the preliminary phases of a method selected for one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

SELECTION_PREFIX = "choice"
"""Prefix, in a task state, of the tensors that the method's phases selected. Part of the file format."""


@dataclass(frozen=True)
class Selection:
    """What a method's phases selected for one task.

    Args:
        tensors: named tensors that belong to the task state, such as the positions of a mask. The task's
            trained values have no meaning without them.
        initial_values: initial values of the method's training, by full name of a trainable.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    initial_values: Mapping[str, Tensor] = field(default_factory=dict)
