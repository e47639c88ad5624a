"""LayerNorm tuning: train gains and shifts of the normalisations alone."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


class LayerNormTuning(Method):
    """Train every LayerNorm of the encoder, including that of the embeddings.

    On a BERT-style encoder of L layers and width d these are 4 d L + 2 d values, the same
    that the Houlsby adapter trains in addition to its adapters.
    """

    family: ClassVar[str] = "bias"
    checked_against: ClassVar[str] = "Names and closed counts (tests/methods/test_counts.py)."

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Replace each gain and shift by a trained one."""
        # By module class, so that the names of an architecture do not matter.
        return [*replace_tensors(model, layer_norm_names(model, parts))]
