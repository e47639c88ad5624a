"""The time of one forward pass, beside the bare backbone's.

A difference of one percent drowns in the drift of a machine. So all states of a model take turns, in an
order drawn anew each round, and what is reported is the ratio within a round. Its interval is that of
these copies of the model in memory; `gluelamp.measurement.certificate` makes new copies as well.
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
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.measurement.operators import same_operators
from gluelamp.measurement.states import build_states, random_inputs
from gluelamp.measurement.timing import computing_on, graphed, time_in_turns

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SEED = 0
_RESAMPLES = 9999


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Latency(Kind):
    """Times a method on a backbone of random weights, in inference mode.

    A cell has a row for each state: ``base`` (the bare backbone), ``unmerged`` and, if the method can be
    merged, ``merged``. ``median_ms`` and ``iqr_ms`` are those of a pass, over ``rounds``;
    ``ratio_to_base`` is the median over rounds of the ratio to the base's pass of the same round, with its
    95 % bootstrap interval from ``ratio_low`` to ``ratio_high``; ``same_operators`` says whether the pass
    runs exactly the operators of the base's. ``device`` is ``cuda graphs`` where a GPU replayed a graph.

    Args:
        batches: examples a pass; each with each of ``lengths``.
        lengths: tokens an example.
        precisions: types of the whole model.
        graphs: on a GPU, whether passes are launched one kernel at a time, as CUDA graphs, or both.
        rounds: counted passes of each state, at most.
        seconds: a cell stops after as many, but has five rounds at least.
        threads: of torch on a CPU; its own choice if None.
        device: ``auto`` takes a GPU if there is one.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(1, 8, 32), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(32, 128, 512), min_length=1)
    precisions: tuple[Literal["fp32", "bf16"], ...] = Field(default=("fp32", "bf16"), min_length=1)
    graphs: tuple[bool, ...] = Field(default=(False, True), min_length=1)
    rounds: int = Field(default=20, ge=2)
    seconds: float = Field(default=5, ge=0)
    threads: PositiveInt | None = None
    device: str = "auto"

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return the options, and the processor that they came to."""
        device = choose_device(self.device)
        threads = self.threads or torch.get_num_threads()
        chosen = {"device": device.type, "threads": threads, "processor": device_name(device)}
        return asdict(self) | chosen

    def cells(self, rows: Sequence[Row]) -> list[Cell]:
        """Return each precision with each batch size and length, launched in each way."""
        on_gpu = choose_device(self.device).type == "cuda"
        grid = product(self.precisions, self.batches, self.lengths, self.graphs if on_gpu else (False,))
        return [dict(zip(("precision", "batch", "length", "graphs"), cell, strict=True)) for cell in grid]

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Time; the models are made once for each precision."""
        device = choose_device(self.device)
        for precision, group in groupby(cells, lambda cell: cell["precision"]):
            dtype = choose_dtype(precision, device)
            states = build_states(subject.backbone, subject.method)
            for model in states.values():
                model.to(device, dtype)  # type: ignore[arg-type]  # the decorated method loses its signature
            for cell in group:
                with computing_on(device, self.threads):
                    rows = self._compare(states, cell, device, dtype)
                yield rows

    def _compare(
        self, states: Mapping[str, PreTrainedModel], cell: Cell, device: torch.device, dtype: torch.dtype
    ) -> list[Row]:
        base = states["base"]
        inputs = random_inputs(base, cell["batch"], cell["length"])
        passes = {
            state: graphed(model, inputs) if cell["graphs"] else partial(model, **inputs)
            for state, model in states.items()
        }
        timed = time_in_turns(passes, device, self.rounds, self.seconds)
        times = {state: np.array(one.times) for state, one in timed.items()}
        return [
            {
                "state": state,
                "device": f"{device.type} graphs" if cell["graphs"] else device.type,
                "processor": device_name(device),
                "dtype": str(dtype).removeprefix("torch."),
                "threads": torch.get_num_threads(),
                "batch": cell["batch"],
                "length": cell["length"],
                "rounds": len(one.times),
                "median_ms": 1000 * one.median,
                "iqr_ms": 1000 * one.iqr,
                **ratio_to_base(times[state], times["base"]),
                "same_operators": same_operators(base, states[state], inputs),
            }
            for state, one in timed.items()
        ]

    def line(self, row: Row) -> str:
        """Return the time of one state."""
        return (
            f"{row['state']}, {row['dtype']}, batch {row['batch']}, length {row['length']}: "
            f"{row['median_ms']:.2f} ms on {row['device']}, "
            f"{row['ratio_to_base']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] of the base"
        )


def ratio_to_base(times: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """Return the median of paired ratios and its 95 % interval, by the percentile bootstrap.

    Args:
        times: (rounds,) of a state.
        base: (rounds,) of the bare backbone in the same rounds.

    Returns:
        ``ratio_to_base``, ``ratio_low`` and ``ratio_high``.
    """
    from scipy.stats import bootstrap  # slow to import

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
