"""Modules inserted on hidden states by forward hooks: the bottleneck adapter and its positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.forms import Form, InsertedAdapter, Projections, Wiring

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]


class Adapter(nn.Module):
    """A module that computes ``up(f(down(h)))``, the adapter without its residual."""

    def projections(self) -> Projections | None:
        """Return the values with which it computes in an evaluation; None if it has more parts."""
        return None


class Bottleneck(Adapter):
    """``up(f(down(h)))``, the adapter without its residual.

    Args:
        width: size of h.
        bottleneck: size between the projections.
        activation: f.
        init: initialises a weight matrix in place; biases are zero at the start.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        activation: nn.Module,
        init: Callable[[Tensor], object],
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = activation
        for linear in (self.down, self.up):
            init(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., width)."""
        return self.up(self.activation(self.down(hidden)))

    def projections(self) -> Projections | None:
        """Return both linear layers."""
        names = {nn.ReLU: "relu", nn.GELU: "gelu"}
        (activation,) = [
            names[kind] for module in self.activation.modules() if (kind := type(module)) in names
        ]
        return Projections(self.down.weight, self.down.bias, self.up.weight, self.up.bias, activation)


class InsertedModule(Change):
    """A new module that acts through a forward hook of a part of the model.

    Args:
        handle: the part.
        module: the new module; it becomes the part's submodule ``adapter``.
        hook: the forward hook. It must be a bound method or a `functools.partial`, which a deep copy of the
            model copies too; a closure would run the module of the original model.
    """

    def __init__(self, handle: Handle, module: nn.Module, hook: Hook) -> None:
        self.handle = handle
        self.module = module
        self.name = f"{handle.path}.adapter"
        handle.module.add_module("adapter", module)
        self._function = hook
        self._hook = handle.module.register_forward_hook(hook)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the module's trainable values."""
        # Frozen parameters, such as a shared network's, are not this change's own values.
        named = self.module.named_parameters()
        return {f"{self.name}.{key}": value for key, value in named if value.requires_grad}

    def state(self) -> dict[str, Tensor]:
        """Return the module's trainable values."""
        return dict(self.parameters())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned."""
        with torch.no_grad():
            for name, value in self.parameters().items():
                value.copy_(state[name])

    def shared(self) -> dict[str, Tensor]:
        """Return the module's frozen values."""
        return {f"{self.name}.{key}": value for key, value in self.module.named_buffers()}

    def form(self) -> Form | None:
        """Return the module as an adapter, if it is one at a position of `residual` or `between_norms`."""
        wiring = _WIRINGS.get(getattr(self._function, "func", None))
        projections = self.module.projections() if isinstance(self.module, Adapter) else None
        return InsertedAdapter(self.handle.path, wiring, projections) if wiring and projections else None

    def merge(self) -> None:
        """Refuse: the module is not linear in the backbone's weights."""
        raise InputError(
            "This method inserts modules with a nonlinearity, which no weight of the backbone can "
            "hold: it cannot be merged. Run it unmerged."
        )

    def detach(self) -> None:
        """Remove the module."""
        # The hook first: a pass between the two would call a module that is gone.
        self._hook.remove()
        del self.handle.module.adapter


def residual(module: nn.Module) -> Hook:
    """Return the hook for ``h + adapter(h)``, on a branch before the residual sum.

    Houlsby et al., ICML 2019, Figure 2. The part is a block's ``attention.branch`` or ``ffn.branch``.

    Args:
        module: the adapter, without its residual.
    """
    return partial(_add_update, module)


def _add_update(module: nn.Module, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + module(output)


def between_norms(module: nn.Module) -> Hook:
    """Return the hook for an adapter between two passes of a LayerNorm: ``LN(s + adapter(LN(s)))``.

    s is the sum of feed-forward output and residual, and both passes use the frozen pre-trained
    LayerNorm: Pfeiffer et al., EACL 2021, wired as ``seq_bn`` in the ``adapters`` library. The part is
    a block's ``ffn.norm``.

    Args:
        module: the adapter, without its residual.
    """
    return partial(_normalise_again, module)


def _normalise_again(
    module: nn.Module, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> Tensor:
    # norm.forward, not norm(...): a call would run this hook again
    return norm.forward(inputs[0] + module(output))


_WIRINGS: dict[object, Wiring] = {_add_update: "residual", _normalise_again: "between_norms"}


def reduced_width(width: int, reduction_factor: int) -> int:
    """Return the bottleneck of an adapter from its reduction factor.

    Raises:
        InputError: if the factor is larger than the width.
    """
    if reduction_factor > width:
        raise InputError(
            f"method.reduction_factor={reduction_factor} is larger than the hidden size {width}, so "
            f"that there is no bottleneck. Allowed: 1 to {width}."
        )
    return width // reduction_factor
