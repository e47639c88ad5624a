"""The merged model: the method is part of the weights, and ``transformers`` alone loads it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from gluelamp.exporting.base import Origin, head_modules
from gluelamp.methods.adaptation import Adaptation


@dataclass(frozen=True)
class Merged:
    """A plain model of ``transformers``."""

    model: PreTrainedModel

    def write(self, folder: Path, origin: Origin) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        if origin.labels:
            self.model.config.id2label = dict(enumerate(origin.labels))
            self.model.config.label2id = {label: number for number, label in enumerate(origin.labels)}
        self.model.save_pretrained(folder)


def prepare_merged(adaptation: Adaptation) -> Merged:
    """Return a merged copy of an adapted model.

    Raises:
        InputError: if the method cannot be merged, or ``transformers`` does not have the head.
    """
    head_modules(adaptation)
    return Merged(deepcopy(adaptation).merge())
