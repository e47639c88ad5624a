"""What a change does to a model, as plain data: the terms in which other libraries store a method.

`Change.form` returns one of these. `gluelamp.exporting` writes them in the formats of other libraries, so
that a method needs no code for any format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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


@dataclass(frozen=True)
class Kronecker:
    """A weight as a sum of n Kronecker products whose second factors have rank one.

    Args:
        rule: (n, n, n), the first factors; one tensor for all adapters of a model.
        left: (n, inputs / n).
        right: (n, outputs / n).
    """

    rule: Tensor
    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class Projections:
    """The values of ``up(f(down(h)))``.

    Args:
        down: (bottleneck, width), or its factors.
        down_bias: (bottleneck,).
        up: (width, bottleneck), or its factors.
        up_bias: (width,).
        activation: the name of f in ``transformers``.
    """

    down: Tensor | Kronecker
    down_bias: Tensor
    up: Tensor | Kronecker
    up_bias: Tensor
    activation: str


Wiring = Literal["residual", "between_norms", "parallel"]
"""What an adapter reads, and where its output is added: see `gluelamp.methods.changes.inserted`."""


@dataclass(frozen=True)
class InsertedAdapter:
    """A bottleneck adapter.

    Args:
        path: of the module whose output it changes.
        wiring: what it reads, and where its output is added.
        projections: its values.
        scale: factor on its output.
    """

    path: str
    wiring: Wiring
    projections: Projections
    scale: float = 1.0


Form = Tuner | NewTensor | NewEntries | LowRank | InsertedAdapter
