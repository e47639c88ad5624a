"""A tuner of Hugging Face ``peft`` as a change: its modules, our storage and our way back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import Tensor, nn

_ADAPTER = "default"


class PeftChange:
    """One ``peft`` method on a model, as a `gluelamp.methods.adaptation.Change`.

    Args:
        model: changed in place.
        config: the ``peft`` configuration; its ``target_modules`` are full module names.
    """

    def __init__(self, model: nn.Module, config: PeftConfig) -> None:
        before = {name for name, _ in model.named_parameters()}
        self.tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(config.peft_type)](model, config, _ADAPTER)
        self._parameters = {
            name: value
            for name, value in model.named_parameters()
            if value.requires_grad and name not in before
        }

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the tuner's trainable values."""
        return dict(self._parameters)

    def state(self) -> dict[str, Tensor]:
        """Return the tuner's trainable values: all that a task stores."""
        return dict(self._parameters)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        with torch.no_grad():
            for name, value in self._parameters.items():
                value.copy_(state[name])

    def shared(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def merge(self) -> None:
        """Write the tuner's update into the backbone and remove its modules."""
        self.tuner.merge_and_unload()

    def detach(self) -> None:
        """Remove the tuner's modules; the backbone's own were never written to."""
        self.tuner.unload()
