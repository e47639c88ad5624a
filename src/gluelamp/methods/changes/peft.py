"""A tuner of Hugging Face ``peft`` as a change: its modules, with this suite's storage and removal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftConfig, PeftType, get_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.boft import layer as boft
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.forms import Tuner

_ADAPTER = "default"

# Else peft compiles a kernel wherever it finds nvcc, and that kernel supports neither bf16 nor the CPU.
boft._FBD_CUDA = False  # type: ignore[assignment]


class PeftChange(Change):
    """One ``peft`` tuner on a model.

    Args:
        model: changed in place.
        config: the ``peft`` configuration; its ``target_modules`` are full names of linear layers.

    Raises:
        InputError: if the tuner overwrites weights of the backbone.
    """

    def __init__(self, model: nn.Module, config: PeftConfig) -> None:
        # peft moves a layer's own parameters below `base_layer`: a new name alone does not mark a new value.
        # The model is frozen: the tuner's values are the new names that require gradients.
        before = {name for name, _ in model.named_parameters()} | set(model.state_dict())
        self.tuner = _injected(model, config)
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
        """Load what `state` returned."""
        with torch.no_grad():
            for name, value in self._parameters.items():
                value.copy_(state[name])

    def shared(self) -> dict[str, Tensor]:
        """Return the tuner's frozen values: VeRA's projections, SHiRA's positions."""
        # Some tuners hold frozen tensors as buffers, others in plain dictionaries by adapter name.
        buffers = {name: self._model.get_buffer(name) for name in self._buffers}
        return buffers | {
            f"{path}.{kind}": held[_ADAPTER]
            for path, layer in self._model.named_modules()
            if isinstance(layer, BaseTunerLayer)
            for kind in layer.other_param_names
            for held in [getattr(layer, kind, None)]
            if isinstance(held, dict) and isinstance(held.get(_ADAPTER), Tensor)
        }

    def form(self) -> Tuner:
        """Return the tuner, with its frozen values."""
        # This module has what peft reads of a PeftModel, to name the tensors as in its files.
        parent: Any = nn.Module()
        parent.base_model, parent.peft_config = self.tuner, self.tuner.peft_config
        return Tuner(
            self.tuner.peft_config[_ADAPTER], get_peft_model_state_dict(parent, save_embedding_layers=False)
        )

    def merge(self) -> None:
        """Write the tuner's update into the backbone and remove its modules.

        Raises:
            InputError: if the tuner cannot.
        """
        try:
            self.tuner.merge_and_unload()
        except (NotImplementedError, RuntimeError) as error:
            raise InputError(f"method=peft with these options cannot be merged: {error}") from error

    def detach(self) -> None:
        """Remove the tuner's modules; the backbone's own parameters were not changed."""
        self.tuner.unload()


def _injected(model: nn.Module, config: PeftConfig) -> BaseTuner:
    targets = [model.get_submodule(name) for name in config.target_modules]  # type: ignore[attr-defined]
    with _readable(model, targets):
        own = [value for target in targets for value in target.parameters()]
        before = [value.detach().clone() for value in own]
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(config.peft_type)](model, config, _ADAPTER)
        if not all(torch.equal(value, old) for value, old in zip(own, before, strict=True)):
            raise InputError(
                "The tuner overwrites the backbone's own weights, which all tasks share. Leave out the "
                "option that causes this, such as an initialisation from singular vectors."
            )
    return tuner


@contextmanager
def _readable(model: nn.Module, targets: Iterable[nn.Module]) -> Iterator[None]:
    """Give the targets of a model on the meta device values for a moment: a tuner may read them."""
    if next(model.parameters()).device.type != "meta":
        yield
        return
    with torch.device("cpu"):
        for target in targets:
            for value in target.to_empty(device="cpu").parameters():
                # Any values will do for counting. No matrix decomposition fails on the identity.
                nn.init.eye_(value) if value.dim() == 2 else nn.init.zeros_(value)
        yield
    model.to("meta")
