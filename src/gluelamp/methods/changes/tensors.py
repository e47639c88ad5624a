"""A change to one parameter of the backbone, computed from the frozen original in each forward pass.

It stands on ``torch.nn.utils.parametrize``: the original stays where it is, the module sees the
changed tensor, and removing the parametrisation either keeps the change (merge) or drops it (detach).
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


class Parametrization(nn.Module):
    """The rule that makes the changed tensor from the original one.

    A subclass defines ``forward(original) -> changed``, same shape and type, with its trainable
    values as parameters. By default a task stores these, and nothing is shared.
    """

    def stored(self, original: Tensor) -> dict[str, Tensor]:
        """Return what a task stores; ``original`` is the frozen tensor."""
        return dict(self.named_parameters())

    def load_stored(self, stored: Mapping[str, Tensor]) -> None:
        """Take back what `stored` returned."""
        with torch.no_grad():
            for name, value in self.named_parameters():
                value.copy_(stored[name])

    def shared(self) -> dict[str, Tensor]:
        """Return what is stored once for all tasks."""
        return {}

    def restore(self, original: Tensor) -> None:
        """Undo anything that was written into the original."""

    def invalidate(self) -> None:
        """Recompute what is cached of the trained values in the next pass; nothing by default."""


class Replacement(Parametrization):
    """The tensor's place is taken by a trainable one of the same shape.

    Args:
        original: its values are the start.
    """

    def __init__(self, original: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(original.detach().clone())

    def forward(self, original: Tensor) -> Tensor:
        """Return the trained tensor."""
        return self.values


class TensorChange(Change):
    """A parametrised tensor, as a `gluelamp.methods.changes.change.Change`.

    Args:
        model: changed in place.
        name: full name of a parameter, such as ``"bert.pooler.dense.bias"``.
        parametrization: the rule.
    """

    def __init__(self, model: nn.Module, name: str, parametrization: Parametrization) -> None:
        path, _, self.tensor = name.rpartition(".")
        self.name = name
        self.module = model.get_submodule(path)
        self.parametrization = parametrization
        # unsafe only skips a trial run with value checks, which a meta tensor cannot serve
        parametrize.register_parametrization(self.module, self.tensor, parametrization, unsafe=True)

    @property
    def original(self) -> Any:
        """The frozen tensor."""
        return self.module.get_submodule(f"parametrizations.{self.tensor}").original

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the rule's trainable values."""
        return {f"{self.name}.{key}": p for key, p in self.parametrization.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return what the rule stores for a task."""
        stored = self.parametrization.stored(self.original)
        return {f"{self.name}.{key}": value for key, value in stored.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        self.parametrization.load_stored(below(state, self.name))

    def shared(self) -> dict[str, Tensor]:
        """Return what the rule shares between tasks."""
        return {f"{self.name}.{key}": value for key, value in self.parametrization.shared().items()}

    def merge(self) -> None:
        """Keep the changed tensor as the module's own parameter."""
        self._remove(leave_parametrized=True)

    def detach(self) -> None:
        """Put the original tensor back, bit for bit."""
        self.parametrization.restore(self.original)
        self._remove(leave_parametrized=False)

    def invalidate(self) -> None:
        """Let the rule recompute what it cached."""
        self.parametrization.invalidate()

    def _remove(self, *, leave_parametrized: bool) -> None:
        # A deep copy has the class of the original, and torch takes the tensor's property off the class.
        shared = type(self.module)
        self.module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
        parametrize.remove_parametrizations(self.module, self.tensor, leave_parametrized=leave_parametrized)
        getattr(self.module, self.tensor).requires_grad_(False)


def replace_tensors(model: nn.Module, names: list[str]) -> list[TensorChange]:
    """Return one change per named parameter that trains it in full, in the order of ``names``."""
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
            f"The linear layer {linear.path!r} has no bias, and a part of this method needs one to be "
            "written into: it cannot be merged. Run it unmerged."
        )
    return named["weight"], named["bias"]
