"""Linear probing: the task head alone on a frozen encoder."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change


class HeadOnly(Method):
    """Train the head and nothing else: a lower reference for every method."""

    family: ClassVar[str] = "full"
    checked_against: ClassVar[str] = "Names and closed counts (tests/methods/test_counts.py)."

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Change nothing."""
        return []
