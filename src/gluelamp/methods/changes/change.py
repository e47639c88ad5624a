"""What every change to a model provides, and the two declarations that training reads from its modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from gluelamp.methods.changes.forms import Form


class Change(Protocol):
    """One change at one place of a model: a parametrised tensor, an inserted module, an added input."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable values by full name."""

    def state(self) -> dict[str, Tensor]:
        """Return what one task must store of this change, and nothing more."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned; other names in ``state`` are ignored."""

    def shared(self) -> dict[str, Tensor]:
        """Return what is stored once for all tasks; nothing by default."""
        return {}

    def merge(self) -> None:
        """Write the change into the backbone's own parameters and remove it.

        Raises:
            InputError: if the change cannot be written as weights of the backbone.
        """

    def form(self) -> Form | None:
        """Return what the change does now, for an export; None if no form describes it."""
        return None

    def detach(self) -> None:
        """Remove the change and restore the backbone bit for bit."""

    def restore(self) -> None:
        """Write the backbone's own values back into its tensors, until the next pass.

        Only a change that writes into them (a sparse delta) needs to do so.
        """
        return

    def invalidate(self) -> None:
        """Recompute cached values in the next pass: trained values were written from outside.

        Nothing is cached by default. In-place writes that PyTorch counts, and `load`, need no call. A step
        of a fused optimiser and the replay of a CUDA graph do.
        """
        return


class Fp32Module(nn.Module):
    """A module that computes in fp32 in every pass: its values and buffers are excluded from a bf16 cast."""


class Fp32Buffer(Fp32Module):
    """A copy of a tensor that a bf16 cast does not round; it is not part of a state dict.

    Args:
        values: the tensor to copy.
    """

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        # A buffer follows the model to another device. Not persistent: it is not a value of the backbone.
        self.register_buffer("values", values.detach().clone(), persistent=False)


class SharedByRows(nn.Module):
    """A module whose values act on all rows of a batch at once.

    Several profiles cannot pass through it together, each with its own values.
    """


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the entries of a state whose names start with ``prefix.``, without the prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
