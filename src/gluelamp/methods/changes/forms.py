"""What a change does to a model, as plain data: the terms in which other libraries store a method.

`Change.form` returns one of these. `gluelamp.export` writes them in the formats of other libraries, so that a
method needs no code for any format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftConfig


@dataclass(frozen=True)
class Tuner:
    """A tuner of ``peft``.

    Args:
        config: its configuration.
        tensors: by the names of its file, which start with ``base_model.``.
    """

    config: PeftConfig
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class NewTensor:
    """Other values of one parameter.

    Args:
        name: full name of the parameter.
        values: of the parameter's shape.
        original: the pre-trained values.
    """

    name: str
    values: Tensor
    original: Tensor

    @property
    def path(self) -> str:
        """The path of the parameter's module."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class NewEntries:
    """Differences at some entries of one parameter.

    Args:
        name: full name of the parameter.
        positions: (k,) int64, positions in the flattened parameter.
        delta: (k,), added to the entries.
    """

    name: str
    positions: Tensor
    delta: Tensor

    @property
    def path(self) -> str:
        """The path of the parameter's module."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class LowRank:
    """The product ``B A``, added to the weight of one linear layer.

    Args:
        path: of the layer.
        a: (rank, in).
        b: (out, rank).
    """

    path: str
    a: Tensor
    b: Tensor


Form = Tuner | NewTensor | NewEntries | LowRank
