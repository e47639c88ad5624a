"""Learned inputs of an encoder: a module beside its embeddings, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Change, SharedByRows


class Learned(SharedByRows):
    """A module that comes to one tensor, which is all that a task stores of it."""

    def stored(self) -> Tensor:
        """Return the tensor."""
        raise NotImplementedError

    def load(self, stored: Tensor) -> None:
        """Take back what `stored` returned."""
        raise NotImplementedError


class LearnedTensor(Learned):
    """A tensor that is trained as it is.

    Args:
        start: its first values.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(start)

    def stored(self) -> Tensor:
        """Return the tensor."""
        return self.values

    def load(self, stored: Tensor) -> None:
        """Take back what `stored` returned."""
        with torch.no_grad():
            self.values.copy_(stored)


class LearnedInput(Change):
    """A `Learned` module at work, as a `gluelamp.methods.changes.change.Change`.

    Args:
        embeddings: the part to which the module is added.
        name: of the module there.
        module: the new module.
        leave: takes back what lets the module act: a `functools.partial`, which is copied with the model.
    """

    def __init__(self, embeddings: Handle, name: str, module: Learned, leave: Callable[[], object]) -> None:
        self.name = f"{embeddings.path}.{name}"
        self.module = module
        self._stored = f"{self.name}.values"
        self._host, self._key, self._leave = embeddings.module, name, leave
        embeddings.module.add_module(name, module)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the module's trainable values."""
        return {f"{self.name}.{key}": value for key, value in self.module.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return the learned tensor."""
        return {self._stored: self.module.stored()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        self.module.load(state[self._stored])

    def merge(self) -> None:
        """Refuse: no weight of the backbone holds an input."""
        raise InputError(
            "This method gives the encoder inputs of its own, which no weight of the backbone can hold: "
            "it cannot be merged. Run it unmerged."
        )

    def detach(self) -> None:
        """Remove the module, and what lets it act."""
        self._leave()
        delattr(self._host, self._key)
