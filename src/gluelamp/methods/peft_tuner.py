"""A tuner of Hugging Face ``peft`` as a change: its modules, our storage and our way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from peft import PeftConfig, PeftType
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

_ADAPTER = "default"


class PeftChange:
    """One ``peft`` method on a model, as a `gluelamp.methods.adaptation.Change`.

    Args:
        model: changed in place.
        config: the ``peft`` configuration; its ``target_modules`` are full module names.
    """

    def __init__(self, model: nn.Module, config: PeftConfig) -> None:
        before = {name for name, _ in model.named_parameters()} | set(model.state_dict())
        with _readable(model, config.target_modules):  # type: ignore[attr-defined]  # all have them
            self.tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(config.peft_type)](model, config, _ADAPTER)
        self._model = model
        self._parameters = {
            name: value
            for name, value in model.named_parameters()
            if value.requires_grad and name not in before
        }
        persistent = model.state_dict().keys() - before
        self._buffers = [name for name, _ in model.named_buffers() if name in persistent]

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
        """Return the tuner's frozen values: VeRA's projections, SHiRA's places."""
        buffers = {name: self._model.get_buffer(name) for name in self._buffers}
        return buffers | {
            f"{path}.{kind}": held[_ADAPTER]
            for path, layer in self._model.named_modules()
            if isinstance(layer, BaseTunerLayer)
            for kind in layer.other_param_names
            for held in [getattr(layer, kind, None)]
            if isinstance(held, dict) and isinstance(held.get(_ADAPTER), Tensor)
        }

    def merge(self) -> None:
        """Write the tuner's update into the backbone and remove its modules."""
        self.tuner.merge_and_unload()

    def detach(self) -> None:
        """Remove the tuner's modules; the backbone's own were never written to."""
        self.tuner.unload()


@contextmanager
def _readable(model: nn.Module, targets: Iterable[str]) -> Iterator[None]:
    """Give some modules of a model on the meta device memory for a moment: tuners may look at values."""
    if next(model.parameters()).device.type != "meta":
        yield
        return
    for name in targets:
        model.get_submodule(name).to_empty(device="cpu")
    with torch.device("cpu"):
        yield
    model.to("meta")
