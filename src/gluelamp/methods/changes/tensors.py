"""A change to one parameter of the backbone, computed from the frozen original in each forward pass.

It uses ``torch.nn.utils.parametrize``: the original tensor is preserved, the module reads the changed
tensor, and removing the parametrisation either keeps the changed tensor (merge) or the original (detach).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Change, below
from gluelamp.methods.changes.forms import Form, NewTensor


class Parametrization(nn.Module):
    """Computes the changed tensor from the original one.

    A subclass defines ``forward(original) -> changed``, with the same shape and type, and has its trainable
    values as parameters. By default a task stores these, and nothing is shared between tasks.
    """

    def stored(self, original: Tensor) -> dict[str, Tensor]:
        """Return what a task stores; ``original`` is the frozen tensor."""
        return dict(self.named_parameters())

    def load_stored(self, stored: Mapping[str, Tensor]) -> None:
        """Load what `stored` returned."""
        with torch.no_grad():
            for name, value in self.named_parameters():
                value.copy_(stored[name])

    def shared(self) -> dict[str, Tensor]:
        """Return what is stored once for all tasks."""
        return {}

    def form(self, name: str, original: Tensor) -> Form:
        """Return what the parametrisation does to the parameter ``name``; see `Change.form`."""
        return NewTensor(name, self(original), original)

    def restore(self, original: Tensor) -> None:
        """Undo anything that was written into the original."""

    def invalidate(self) -> None:
        """Recompute cached values in the next pass; see `Change.invalidate`."""


class Replacement(Parametrization):
    """A trainable tensor in place of the original.

    Args:
        original: its values are the initial ones.
    """

    def __init__(self, original: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(original.detach().clone())

    def forward(self, original: Tensor) -> Tensor:
        """Return the trained tensor."""
        return self.values


class TensorChange(Change):
    """A parametrised tensor.

    Args:
        model: changed in place.
        name: full name of a parameter, such as ``"bert.pooler.dense.bias"``.
        parametrization: computes the changed tensor.
    """

    def __init__(self, model: nn.Module, name: str, parametrization: Parametrization) -> None:
        path, _, self.tensor = name.rpartition(".")
        self.name = name
        self.module = model.get_submodule(path)
        self.parametrization = parametrization
        # unsafe=True only skips a trial run that compares values, which a meta tensor does not have
        parametrize.register_parametrization(self.module, self.tensor, parametrization, unsafe=True)

    @property
    def original(self) -> Any:
        """The frozen tensor."""
        return self.module.get_submodule(f"parametrizations.{self.tensor}").original

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the parametrisation's trainable values."""
        return {f"{self.name}.{key}": p for key, p in self.parametrization.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return what the parametrisation stores for a task."""
        stored = self.parametrization.stored(self.original)
        return {f"{self.name}.{key}": value for key, value in stored.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned."""
        self.parametrization.load_stored(below(state, self.name))

    def shared(self) -> dict[str, Tensor]:
        """Return what the parametrisation stores once for all tasks."""
        return {f"{self.name}.{key}": value for key, value in self.parametrization.shared().items()}

    def form(self) -> Form:
        """Return what the parametrisation does."""
        return self.parametrization.form(self.name, self.original)

    def merge(self) -> None:
        """Make the changed tensor the module's own parameter."""
        self._remove(leave_parametrized=True)

    def detach(self) -> None:
        """Make the original tensor the module's own parameter again, bit for bit."""
        self.restore()
        self._remove(leave_parametrized=False)

    def restore(self) -> None:
        """Undo what the parametrisation wrote into the original, until the next pass."""
        self.parametrization.restore(self.original)

    def invalidate(self) -> None:
        """Invalidate what the parametrisation cached."""
        self.parametrization.invalidate()

    def _remove(self, *, leave_parametrized: bool) -> None:
        # torch gives a parametrised module a class of its own, with a property for the tensor, and deletes
        # the property from the class on removal. A deep copy of the model shares that class, and would lose
        # its property too. So the module first gets a copy of the class, whose property alone is deleted.
        shared = type(self.module)
        self.module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
        parametrize.remove_parametrizations(self.module, self.tensor, leave_parametrized=leave_parametrized)
        getattr(self.module, self.tensor).requires_grad_(False)


def replace_tensors(model: nn.Module, names: list[str]) -> list[TensorChange]:
    """Return one change for each named parameter that trains it in full, in the order of ``names``."""
    return [TensorChange(model, name, Replacement(model.get_parameter(name))) for name in names]


def layer_norm_names(model: nn.Module, parts: Anatomy) -> list[str]:
    """Return the full names of gains and shifts of all LayerNorms of the encoder, sorted."""
    norms = tuple(f"{path}." for path, m in model.named_modules() if isinstance(m, nn.LayerNorm))
    return [name for name in parts.encoder_parameters if name.startswith(norms)]


def weight_and_bias(linear: Handle) -> tuple[nn.Parameter, nn.Parameter]:
    """Return a linear layer's weight (out, in) and bias (out,), for a change that merges into both.

    Raises:
        InputError: if the layer has no bias.
    """
    named = dict(linear.module.named_parameters(recurse=False))
    if "bias" not in named:
        raise InputError(
            f"The linear layer {linear.path!r} has no bias, into which a part of this method would be "
            "written: it cannot be merged. Run it unmerged."
        )
    return named["weight"], named["bias"]
