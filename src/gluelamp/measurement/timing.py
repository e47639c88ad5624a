"""Interleaved timing of forward passes.

The results are `torch.utils.benchmark.Measurement` objects, but its ``Timer`` is not used: it warms up in
every call, so interleaved passes would run three times each.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Measurement, TaskSpec, set_torch_threads

from gluelamp.errors import InputError

Pass = Callable[[], object]

_WARM_UP_PASSES = 3  # before a capture, as the documentation of torch advises
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
            # A bootstrap interval needs a few rounds, however long they take.
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
        # libraries allocate their workspaces in the first passes, which a capture does not allow
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
