"""Latency: the time of one forward pass, and its ratio to the bare backbone's.

The speed of a machine drifts by more than the differences of interest. Therefore the states of a model are
timed in interleaved rounds, and the reported value is the ratio within a round. Its interval holds for
these copies of the models in memory. `gluelamp.measurement.certificate` also varies the copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated

from gluelamp.hardware import choose_device, choose_dtype, device_name
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.models import build_states, random_inputs
from gluelamp.measurement.structure import trace_operators
from gluelamp.measurement.timing import capture_graph, computing_on, time_interleaved

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SEED = 0
_RESAMPLES = 9999


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Latency(MeasurementKind):
    """Time forward passes in inference mode, on a backbone of random weights.

    Each part has one row per state: ``base`` (the bare backbone), ``unmerged`` and, if the method merges,
    ``merged``. ``median_ms`` and ``iqr_ms`` are the median and interquartile range of one pass over
    ``rounds``. ``ratio_to_base`` is the median over rounds of the ratio to the base's pass of the same
    round, with a 95 % bootstrap interval from ``ratio_low`` to ``ratio_high``. ``same_operators`` is true
    if the pass runs exactly the operators of the base. ``device`` is ``cuda graphs`` for a pass that was
    replayed from a CUDA graph.

    Args:
        batches: numbers of examples per pass.
        lengths: tokens per example; every batch size is timed at every length.
        precisions: number formats of the whole model.
        graphs: on a GPU, whether to launch kernels one at a time (false), to replay CUDA graphs (true), or
            both.
        rounds: the largest number of rounds.
        seconds: a part ends after this time, with at least five rounds.
        threads: CPU threads; torch's default if None.
        device: ``auto`` is a GPU if there is one.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(1, 8, 32), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(32, 128, 512), min_length=1)
    precisions: tuple[Literal["fp32", "bf16"], ...] = Field(default=("fp32", "bf16"), min_length=1)
    graphs: tuple[bool, ...] = Field(default=(False, True), min_length=1)
    rounds: int = Field(default=20, ge=2)
    seconds: float = Field(default=5, ge=0)
    threads: PositiveInt | None = None
    device: str = "auto"

    def settings(self, model: MeasuredModel) -> dict[str, Any]:
        """Return the options, with the device, threads and processor of this machine."""
        # A time belongs to a machine, so the resolved device is part of the file's name. The head
        # is a small part of a forward pass: latency is always measured with two layers.
        device = choose_device(self.device)
        threads = self.threads or torch.get_num_threads()
        resolved = {"device": device.type, "threads": threads, "processor": device_name(device)}
        return asdict(self) | resolved

    def parts(self, rows: Sequence[Row]) -> list[Part]:
        """Return every combination of precision, batch size, length and launch mode."""
        on_gpu = choose_device(self.device).type == "cuda"
        grid = product(self.precisions, self.batches, self.lengths, self.graphs if on_gpu else (False,))
        return [dict(zip(("precision", "batch", "length", "graphs"), values, strict=True)) for values in grid]

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Time the states. The models are built once per precision."""
        device = choose_device(self.device)
        # `parts` are ordered by precision, so each precision is one group.
        for precision, group in groupby(parts, lambda part: part["precision"]):
            dtype = choose_dtype(precision, device)
            # Casting is lossy, so each precision starts from new fp32 models.
            states = build_states(model.backbone, model.method)
            for state in states.values():
                state.to(device, dtype)  # type: ignore[arg-type]  # the decorated method has no signature
            for part in group:
                with computing_on(device, self.threads):
                    rows = self._time(states, part, device, dtype)
                yield rows

    def _time(
        self, states: Mapping[str, PreTrainedModel], part: Part, device: torch.device, dtype: torch.dtype
    ) -> list[Row]:
        # A captured graph reads these tensors at every replay, so they must outlive the timing.
        inputs = random_inputs(states["base"], part["batch"], part["length"])
        passes = {
            state: capture_graph(model, inputs) if part["graphs"] else partial(model, **inputs)
            for state, model in states.items()
        }
        timed = time_interleaved(passes, device, self.rounds, self.seconds)
        times = {state: np.array(measurement.times) for state, measurement in timed.items()}
        # Traced after the timing: a recorded pass is many times slower.
        operators = {state: trace_operators(model, inputs) for state, model in states.items()}
        return [
            {
                "state": state,
                "device": f"{device.type} graphs" if part["graphs"] else device.type,
                "processor": device_name(device),
                "dtype": str(dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "batch": part["batch"],
                "length": part["length"],
                "rounds": len(measurement.times),
                "median_ms": 1000 * measurement.median,
                "iqr_ms": 1000 * measurement.iqr,
                **ratio_to_base(times[state], times["base"]),
                "same_operators": operators[state] == operators["base"],
            }
            for state, measurement in timed.items()
        ]

    def summarise(self, row: Row) -> str:
        """Return the time of one state."""
        return (
            f"{row['state']}, {row['dtype']}, batch {row['batch']}, length {row['length']}: "
            f"{row['median_ms']:.2f} ms on {row['device']}, "
            f"{row['ratio_to_base']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] of the base"
        )


def ratio_to_base(times: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Return the median of paired ratios and its 95 % interval, by the percentile bootstrap.

    Args:
        times: (rounds,) of one state.
        base: (rounds,) of the bare backbone in the same rounds.

    Returns:
        ``ratio_to_base``, ``ratio_low`` and ``ratio_high``.
    """
    from scipy.stats import bootstrap  # slow to import

    # Both passes of a round share the state of the machine, so its drift cancels in the ratio.
    ratios = times / base
    interval = bootstrap(
        (ratios,),
        np.median,
        n_resamples=_RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return {
        "ratio_to_base": float(np.median(ratios)),
        "ratio_low": float(interval.low),
        "ratio_high": float(interval.high),
    }
