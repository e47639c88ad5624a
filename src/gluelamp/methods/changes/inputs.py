"""Trained inputs of an encoder, such as a prompt or a prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Change, SharedByRows


class TrainedInput(SharedByRows):
    """A module that computes one tensor, which is all that a task stores of it."""

    def stored(self) -> Tensor:
        """Return the tensor."""
        raise NotImplementedError

    def load(self, stored: Tensor) -> None:
        """Load what `stored` returned."""
        raise NotImplementedError


class TrainedTensor(TrainedInput):
    """A tensor that is trained directly.

    Args:
        start: its initial values.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(start)

    def stored(self) -> Tensor:
        """Return the tensor."""
        return self.values

    def load(self, stored: Tensor) -> None:
        """Load what `stored` returned."""
        with torch.no_grad():
            self.values.copy_(stored)


class InputChange(Change):
    """A `TrainedInput` of a model.

    Args:
        embeddings: the part to which the module is added as a submodule.
        name: of the submodule.
        module: the new module.
        remove: undoes what lets the module act on a pass. Must be a `functools.partial` or a bound method,
            which a deep copy of the model copies too; a closure would act on the original model.
    """

    def __init__(
        self, embeddings: Handle, name: str, module: TrainedInput, remove: Callable[[], object]
    ) -> None:
        self.name = f"{embeddings.path}.{name}"
        self.module = module
        self._stored = f"{self.name}.values"
        self._parent, self._key, self._remove = embeddings.module, name, remove
        # A submodule, so that the model's own moves, casts and copies include it.
        embeddings.module.add_module(name, module)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the module's trainable values."""
        return {f"{self.name}.{key}": value for key, value in self.module.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return the trained tensor."""
        return {self._stored: self.module.stored()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned."""
        self.module.load(state[self._stored])

    def merge(self) -> None:
        """Refuse: no weight of the backbone holds an input."""
        raise InputError(
            "This method gives the encoder additional inputs, which no weight of the backbone can hold: "
            "it cannot be merged. Run it unmerged."
        )

    def detach(self) -> None:
        """Remove the module, and what lets it act on a pass."""
        self._remove()
        delattr(self._parent, self._key)
