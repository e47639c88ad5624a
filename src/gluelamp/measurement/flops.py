"""Floating-point operations of a sample, by torch's counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gluelamp.backbones.load import BackboneConfig
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.measurement.states import backward, build_bare, build_states, random_inputs
from gluelamp.methods.base import Method


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Flops(Kind):
    """Counts the operations of forward passes and of a training step; see `measure_flops`.

    Args:
        batches: examples a pass; each with each of ``lengths``. What a method computes once a pass, such
            as HiWi its biases, is shared by the examples.
        lengths: tokens an example.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(1,), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(32, 128, 512), min_length=1)

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return the sizes, and whether the pooler is trained."""
        return asdict(self) | {"train_pooler": subject.train_pooler}

    def cells(self, rows: Sequence[Row]) -> list[Cell]:
        """Return each batch size with each length."""
        return [{"batch": batch, "length": length} for batch, length in product(self.batches, self.lengths)]

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Count, on shapes alone where they suffice."""
        sizes = [(cell["batch"], cell["length"]) for cell in cells]
        what = (subject.backbone, subject.method, sizes, subject.train_pooler)
        try:
            with torch.device("meta"):
                counted = measure_flops(*what)
        except NotImplementedError:  # an operator asks for values
            counted = measure_flops(*what)
        yield from counted

    def line(self, row: Row) -> str:
        """Return the operations of a sample in one state."""
        return (
            f"{row['state']}, batch {row['batch']}, length {row['length']}: "
            f"{row['flops_per_sample'] / 1e9:,.3f} GFLOP a sample, {row['ratio_to_base']:.4f} of the base"
        )


def measure_flops(
    backbone: BackboneConfig, method: Method, sizes: Sequence[tuple[int, int]], train_pooler: bool = False
) -> list[list[Row]]:
    """Return the operations of a sample, a row for each state.

    Products of matrices are counted, two operations for each multiplication and addition; what torch
    does element by element is not. Under ``torch.device("meta")`` a large backbone costs nothing; a method
    whose work depends on values, such as DyT, which skips tokens, needs a device that has them.

    Args:
        backbone: its ``shape`` is read.
        method: the recipe.
        sizes: examples a pass, and tokens an example.
        train_pooler: whether the pre-trained pooler is trained with the head.

    Returns:
        Of each size, rows with ``state``: forward passes of ``base`` (the bare backbone), ``unmerged`` and,
        if the method can be merged, ``merged``; and ``training``, the passes of a training step forward
        and backward over all tokens, without the optimiser. ``ratio_to_base`` is that to the base's pass.

    Raises:
        InputError: if the method cannot serve this architecture, size or length.
        NotImplementedError: if an operator asks for values and there are none.
    """
    states = build_states(backbone, method)
    adaptation = method.adapt(build_bare(backbone), train_pooler)

    def rows(batch: int, length: int) -> list[Row]:
        inputs = random_inputs(states["base"], batch, length)
        counts = {state: forward_flops(model, inputs) for state, model in states.items()}
        counts["training"] = _count(lambda: backward(adaptation, inputs))
        size = {"batch": batch, "length": length}
        return [
            {
                "state": state,
                **size,
                "flops_per_sample": count / batch,
                "ratio_to_base": count / counts["base"],
            }
            for state, count in counts.items()
        ]

    return [rows(*size) for size in sizes]


def forward_flops(model: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """Return the operations of one forward pass.

    Args:
        model: in the mode (training or evaluation) to look at.
        inputs: keyword arguments of the pass.
    """
    # under no_grad the counter fails on a module that returns its own parameters
    return _count(lambda: model(**inputs))


def _count(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
