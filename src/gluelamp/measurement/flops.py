"""FLOPs: floating-point operations per sample, counted by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product

import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.models import backward, build_bare, build_states, random_inputs
from gluelamp.methods.phases import adapt_untrained


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Flops(MeasurementKind):
    """Count the FLOPs of forward passes and of a training step; see `count_flops`.

    Args:
        batches: numbers of examples per pass. Work that a method does once per pass, such as HiWi's
            computation of its biases, is divided by this number.
        lengths: tokens per example; every batch size is counted at every length.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(1,), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(32, 128, 512), min_length=1)

    def parts(self, rows: Sequence[Row]) -> list[Part]:
        """Return every combination of batch size and length."""
        return [{"batch": batch, "length": length} for batch, length in product(self.batches, self.lengths)]

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Count the FLOPs."""
        yield from count_flops(model, [(part["batch"], part["length"]) for part in parts])

    def summarise(self, row: Row) -> str:
        """Return the FLOPs of one state."""
        return (
            f"{row['state']}, batch {row['batch']}, length {row['length']}: "
            f"{row['flops_per_sample'] / 1e9:,.3f} GFLOP a sample, {row['ratio_to_base']:.4f} of the base"
        )


def count_flops(
    model: MeasuredModel, sizes: Sequence[tuple[int, int]], with_values: bool = False
) -> list[list[Row]]:
    """Return the FLOPs per sample, one row per state.

    Only matrix products are counted, with two operations for each multiplication and addition. Elementwise
    operations are not counted.

    Args:
        model: the model under measurement.
        sizes: pairs of examples per pass and tokens per example.
        with_values: whether the model has values. If False, it is built on the meta device, where a large
            backbone costs nothing and a mask has arbitrary positions. A method whose work depends on values,
            such as DyT, which skips tokens, always has values.

    Returns:
        For each size, rows with ``state``: forward passes of ``base`` (the bare backbone), ``unmerged`` and,
        if the method merges, ``merged``; and ``training``, the forward and backward pass of a training step
        over all tokens, without the optimiser. ``ratio_to_base`` is the ratio to the base's forward pass.

    Raises:
        InputError: if the method does not support this architecture, size or length.
    """
    if not with_values:
        # An operator that reads values raises NotImplementedError on the meta device. The model is then built
        # again, with values.
        with suppress(NotImplementedError), torch.device("meta"):
            return _count_sizes(model, sizes)
    return _count_sizes(model, sizes)


def _count_sizes(model: MeasuredModel, sizes: Sequence[tuple[int, int]]) -> list[list[Row]]:
    states = build_states(model.backbone, model.method, model.head)
    # A separate model for the training step, which sets training mode and needs the head's gradients.
    adaptation = adapt_untrained(model.method, build_bare(model.backbone, model.head))

    def rows(batch: int, length: int) -> list[Row]:
        inputs = random_inputs(states["base"], batch, length)
        counts = {state: forward_flops(network, inputs) for state, network in states.items()}
        counts["training"] = _count(lambda: backward(adaptation, inputs))
        return [
            {
                "state": state,
                "batch": batch,
                "length": length,
                "flops_per_sample": count / batch,
                "ratio_to_base": count / counts["base"],
            }
            for state, count in counts.items()
        ]

    return [rows(*size) for size in sizes]


def forward_flops(model: nn.Module, inputs: Mapping[str, Tensor]) -> int:
    """Return the FLOPs of one forward pass.

    Args:
        model: in the mode (training or evaluation) to count.
        inputs: keyword arguments of the pass.
    """
    # Gradients stay enabled: without them the counter fails on a module that returns its own parameters.
    return _count(lambda: model(**inputs))


def _count(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
