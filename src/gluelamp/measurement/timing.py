"""Passes that take turns, timed one by one.

`torch.utils.benchmark` holds what was timed, but its ``Timer`` does not time: it warms up anew in every
call, so that passes which take turns would run three times each.
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

_BEFORE_CAPTURE = 3  # passes, as torch advises
_FEWEST = 5  # rounds that are counted, however long they take


@contextmanager
def computing_on(device: torch.device, threads: int | None) -> Iterator[None]:
    """Let torch use a device as its current one, and a number of threads on a CPU; its own if None."""
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with current, set_torch_threads(threads or torch.get_num_threads()):
        yield


@torch.inference_mode()
def time_in_turns(
    passes: Mapping[str, Pass],
    device: torch.device,
    rounds: int,
    seconds: float = math.inf,
    seed: int = 0,
) -> dict[str, Measurement]:
    """Return the seconds of every pass, in inference mode and after a pass to warm up.

    Args:
        passes: by name; in each round all of them run once, in an order drawn anew.
        device: where they compute. A GPU's own events are read there, and the wall clock elsewhere.
        rounds: how many are counted, at most.
        seconds: after which no round is begun, from the fifth on.
        seed: of the order.

    Returns:
        By name; as many times for each.
    """
    clock = _event_seconds if device.type == "cuda" else _wall_seconds
    order = random.Random(seed)
    times: dict[str, list[float]] = {name: [] for name in passes}
    for run in passes.values():  # not counted: caches, choice of kernels
        clock(run)
    start = time.perf_counter()
    with _without_collection():
        for number in range(rounds):
            if number >= _FEWEST and time.perf_counter() - start > seconds:
                break
            for name in order.sample(list(passes), len(passes)):
                times[name].append(clock(passes[name]))
    threads = torch.get_num_threads()
    return {
        name: Measurement(1, each, TaskSpec(stmt=name, setup="", num_threads=threads))
        for name, each in times.items()
    }


def graphed(model: nn.Module, inputs: Mapping[str, Tensor]) -> Pass:
    """Return the replay of a forward pass that was captured in a CUDA graph.

    Args:
        model: on torch's current GPU; its pass must not look at values.
        inputs: keyword arguments of the pass, read at every replay: they must be kept.

    Raises:
        InputError: if the pass cannot be captured.
    """
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.inference_mode():
        with torch.cuda.stream(stream):  # libraries allocate their workspaces before the capture
            for _ in range(_BEFORE_CAPTURE):
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
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


@contextmanager
def _without_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
