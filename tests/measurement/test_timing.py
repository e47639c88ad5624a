"""Interleaved timing: its order, mode and limits, never the time itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from gluelamp.measurement import timing
from gluelamp.measurement.timing import capture_graph, time_interleaved

CPU = torch.device("cpu")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_all_passes_run_once_a_round_in_changing_order_after_a_warm_up() -> None:
    calls: list[str] = []

    def to_call(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    passes = {name: to_call(name) for name in ("base", "unmerged", "merged")}
    timed = time_interleaved(passes, CPU, 20)
    counted = calls[-60:]
    rounds = [tuple(counted[start : start + 3]) for start in range(0, 60, 3)]
    assert len(calls) > 60
    assert all(sorted(order) == sorted(passes) for order in rounds)
    assert len(set(rounds)) == 6  # each order occurs
    assert {name: len(one.times) for name, one in timed.items()} == dict.fromkeys(passes, 20)


def test_passes_run_in_inference_mode() -> None:
    modes: list[bool] = []
    time_interleaved({"one": lambda: modes.append(torch.is_inference_mode_enabled())}, CPU, 3)
    assert modes
    assert all(modes)


def test_a_measurement_holds_each_time_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(step=0.5)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    (one,) = time_interleaved({"one": lambda: None}, CPU, 4).values()
    assert one.times == [0.5] * 4
    assert (one.median, one.iqr) == (0.5, 0.0)


def test_a_long_timing_stops_early_with_five_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    (one,) = time_interleaved({"one": lambda: None}, CPU, 20, seconds=1).values()
    assert len(one.times) == 5


@needs_gpu
def test_a_graph_replays_the_pass() -> None:
    model, inputs = nn.Linear(4, 4).cuda(), {"input": torch.randn(2, 4, device="cuda")}
    outputs: list[torch.Tensor] = []
    model.register_forward_hook(lambda _, __, output: outputs.append(output))
    replay = capture_graph(model, inputs)
    inputs["input"].fill_(1.0)
    replay()
    torch.cuda.synchronize()
    expected = model.weight.sum(1) + model.bias
    np.testing.assert_allclose(outputs[-1][0].cpu(), expected.detach().cpu(), rtol=1e-5)
