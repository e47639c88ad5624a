"""Full fine-tuning: every parameter."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.tensors import replace_tensors


class FullFineTuning(Method):
    """Train all parameters of the encoder, and a pre-trained pooler with the head."""

    family: ClassVar[str] = "full"
    checked_against: ClassVar[str] = (
        "The losses of Hugging Face `Trainer` (tests/training/test_loss_parity.py)."
    )

    trains_pooler: ClassVar[bool] = True

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Replace each tensor of the encoder by a trained one."""
        # As replacements, so that a task's state, its bytes and its removal are those of any other method.
        return [*replace_tensors(model, list(parts.encoder_parameters))]
