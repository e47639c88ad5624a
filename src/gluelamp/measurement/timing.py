"""Timing of forward passes in interleaved rounds, and the ratio of two models' times.

The speed of a machine drifts, so a time alone means little. All models run once in each round, and only
times of the same round are compared. The speed of a model also depends on where its copy lies in memory.
Therefore `block_ratio` compares several blocks of rounds, each with new copies of the models.

The times are `torch.utils.benchmark.Measurement` objects, but its ``Timer`` is not used: it warms up in
every call, so interleaved passes would run three times each.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.benchmark import Measurement, TaskSpec, set_torch_threads

from gluelamp.bootstrap import mean_interval
from gluelamp.errors import InputError
from gluelamp.measurement.models import BASE, CANDIDATE, CONTROL

Pass = Callable[[], object]

# Before a capture, as the documentation of torch advises.
_WARM_UP_PASSES = 3
# A bootstrap interval needs a few rounds, however long they take.
_MIN_ROUNDS = 5


@contextmanager
def computing_on(device: torch.device, threads: int | None) -> Iterator[None]:
    """Make a device current, and set the number of CPU threads; None leaves the number unchanged."""
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, set_torch_threads(threads or torch.get_num_threads()):
        yield


@torch.inference_mode()
def time_interleaved(
    passes: Mapping[str, Pass],
    device: torch.device,
    rounds: int,
    seconds: float = math.inf,
    seed: int = 0,
) -> dict[str, Measurement]:
    """Return the seconds of every pass, in inference mode and after one pass to warm up.

    Each round runs every pass once, in a new random order, so that a drift of the machine's speed
    affects all of them equally.

    Args:
        passes: the passes by name.
        device: where they run. A GPU is timed by its own events, a CPU by the wall clock.
        rounds: the largest number of rounds.
        seconds: no round starts after this time, except the first five.
        seed: seed of the order.

    Returns:
        The times by name. All passes have the same number of times.
    """
    clock = _event_seconds if device.type == "cuda" else _wall_seconds
    order = random.Random(seed)
    times: dict[str, list[float]] = {name: [] for name in passes}
    # The warm-up fills caches and lets libraries choose their kernels.
    for run in passes.values():
        clock(run)
    start = time.perf_counter()
    with _without_garbage_collection():
        for number in range(rounds):
            if number >= _MIN_ROUNDS and time.perf_counter() - start > seconds:
                break
            for name in order.sample(list(passes), len(passes)):
                times[name].append(clock(passes[name]))
    threads = torch.get_num_threads()
    return {
        name: Measurement(1, values, TaskSpec(stmt=name, setup="", num_threads=threads))
        for name, values in times.items()
    }


def capture_graph(model: nn.Module, inputs: Mapping[str, Tensor]) -> Pass:
    """Capture a forward pass in a CUDA graph, and return the function that replays it.

    Args:
        model: on torch's current GPU. Its control flow must not depend on values.
        inputs: keyword arguments of the pass. Every replay reads these tensors, so the caller must hold
            on to them.

    Raises:
        InputError: if the pass cannot be captured.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode():
        # Libraries allocate their workspaces in the first passes, which a capture does not allow.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_PASSES):
                model(**inputs)
        torch.cuda.current_stream().wait_stream(stream)
        try:
            with torch.cuda.graph(graph, stream=stream):
                model(**inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(
                f"A pass cannot be captured in a CUDA graph: {error}. Set latency.graphs=[false]."
            ) from error
    return graph.replay


def _wall_seconds(run: Pass) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _event_seconds(run: Pass) -> float:
    # Events are recorded on the GPU, so the time does not include the return to the host.
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    # A collection during a pass would be counted as time of this pass.
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass(frozen=True)
class Ratio:
    """A ratio of times with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def is_one(self, resolution: float) -> bool:
        """Whether the interval contains 1.00 and ends below ``1 + resolution``."""
        return self.low <= 1 <= self.high < 1 + resolution

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


def block_ratio(times: Sequence[Sequence[float]], base: Sequence[Sequence[float]]) -> Ratio:
    """Return the ratio of two models' times, with the block as the unit of resampling.

    The rounds of a block share the copies of the models, so they are not independent, and an interval
    over rounds would be too narrow. Each block counts once: by the median over its rounds of the
    logarithm of the ratio (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).

    Args:
        times: (blocks, rounds) of one model.
        base: (blocks, rounds) of the other model, in the same rounds.

    Returns:
        The geometric mean over blocks, with its 95 % interval.
    """
    # The median ignores rounds in which another process was busy. Logarithms treat a ratio and its inverse
    # equally.
    blocks = np.median(np.log(np.asarray(times) / np.asarray(base)), axis=1)
    low, high = mean_interval(blocks)
    return Ratio(float(np.exp(blocks.mean())), float(np.exp(low)), float(np.exp(high)))


@dataclass(frozen=True)
class Attempt:
    """The times of one attempt.

    Args:
        blocks: for each block, the milliseconds of each round of `BASE`, `CONTROL` and `CANDIDATE`.
    """

    blocks: Sequence[Mapping[str, Sequence[float]]]

    @cached_property
    def ratio(self) -> Ratio:
        """Time of the candidate over that of the bare backbone."""
        return self._over_base(CANDIDATE)

    @cached_property
    def control(self) -> Ratio:
        """Time of the second bare copy over that of the first."""
        return self._over_base(CONTROL)

    def _over_base(self, name: str) -> Ratio:
        times, base = ([block[key] for block in self.blocks] for key in (name, BASE))
        return block_ratio(times, base)

    def evidence(self) -> dict[str, Any]:
        """Return the ratios and all times as plain values."""
        times = [{name: list(block[name]) for name in (BASE, CONTROL, CANDIDATE)} for block in self.blocks]
        return {"ratio": asdict(self.ratio), "control": asdict(self.control), "milliseconds": times}


def deciding_attempt(attempts: Sequence[Attempt], resolution: float) -> Attempt:
    """Return the attempt that passed, or the last one if none passed."""
    return next((attempt for attempt in attempts if attempt.ratio.is_one(resolution)), attempts[-1])


def timing_reasons(attempts: Sequence[Attempt], resolution: float) -> list[str]:
    """Return a sentence if no attempt passed.

    Args:
        attempts: at least one.
        resolution: see `Ratio.is_one`.
    """
    # Of several attempts one must pass: the docstring of the certificate gives the error rates.
    last = deciding_attempt(attempts, resolution)
    if last.ratio.is_one(resolution):
        return []
    wrong = "is too wide" if last.ratio.low <= 1 <= last.ratio.high else "misses 1.00"
    return [
        f"Timed {len(attempts)} times, and in the last the ratio to the bare backbone is {last.ratio}: the "
        f"interval {wrong}; it must contain 1.00 and end below {1 + resolution:g}. The ratio of a second "
        f"bare copy was {last.control}."
    ]
