"""Linear probing: the task head alone on a frozen encoder."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.adaptation import Change
from gluelamp.methods.base import Method


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class HeadOnly(Method):
    """Train the head and nothing else: the floor that every method must clear."""

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Change nothing."""
        return []
