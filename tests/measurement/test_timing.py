"""Interleaved timing: its order, mode and limits, never the time itself; and the ratio of two models' times.

The interval of the ratio is tested in simulations with a known ratio.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
import torch
from torch import nn

from gluelamp.measurement import timing
from gluelamp.measurement.models import BASE, CANDIDATE, CONTROL, outputs_reasons
from gluelamp.measurement.timing import (
    Attempt,
    Ratio,
    block_ratio,
    capture_graph,
    time_interleaved,
    timing_reasons,
)

CPU = torch.device("cpu")
BLOCKS, ROUNDS = 10, 15
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


def times(rng: np.random.Generator, placement: float, factor: float = 1.0) -> np.ndarray:
    """Return (blocks, rounds) of one model: the place of its copy in memory affects all rounds of a block."""
    offset = placement * rng.standard_normal((BLOCKS, 1))
    return factor * np.exp(offset + 0.02 * rng.standard_normal((BLOCKS, ROUNDS)))


@pytest.mark.parametrize("placement", [0.0, 0.01])
def test_the_interval_of_equal_models_misses_one_in_about_one_of_twenty_cases(placement: float) -> None:
    rng = np.random.default_rng(0)
    ratios = [block_ratio(times(rng, placement), times(rng, placement)) for _ in range(200)]
    missed = sum(not ratio.low <= 1 <= ratio.high for ratio in ratios)
    assert 2 <= missed <= 20  # 10 expected; 3.2 standard deviations


def test_an_interval_over_rounds_would_be_too_narrow() -> None:
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(100):
        logs = np.log(times(rng, 0.01) / times(rng, 0.01)).ravel()
        missed += abs(logs.mean()) > 1.96 * logs.std() / np.sqrt(logs.size)
    assert missed > 20  # of 100: the block is the unit, not the round


def test_a_planted_slowdown_is_estimated_and_detected() -> None:
    rng = np.random.default_rng(0)
    for factor in (1.03, 1.2):
        ratios = [block_ratio(times(rng, 0.005, factor), times(rng, 0.005)) for _ in range(30)]
        assert np.mean([ratio.estimate for ratio in ratios]) == pytest.approx(factor, rel=0.003)
        assert all(ratio.low > 1 for ratio in ratios)


def test_the_estimate_is_the_geometric_mean_of_block_medians() -> None:
    base = np.ones((5, 3))
    slower = np.array([[1, 2, 9]] * 4 + [[1, 1, 1]])
    assert block_ratio(slower, base).estimate == pytest.approx(2 ** (4 / 5))


def test_a_drift_within_the_rounds_does_not_change_the_ratio() -> None:
    rng = np.random.default_rng(0)
    candidate, base, drift = times(rng, 0.01), times(rng, 0.01), np.linspace(1, 8, BLOCKS)[:, None]
    before, after = block_ratio(candidate, base), block_ratio(candidate * drift, base * drift)
    assert (after.low, after.estimate, after.high) == pytest.approx(
        (before.low, before.estimate, before.high)
    )


@pytest.mark.parametrize(
    ("low", "high", "is_one"),
    [(0.99, 1.01, True), (1.0, 1.0, True), (1.001, 1.01, False), (0.98, 0.999, False), (0.9, 1.06, False)],
)
def test_the_interval_contains_one_and_ends_below_the_resolution(
    low: float, high: float, is_one: bool
) -> None:
    assert Ratio(1.0, low, high).is_one(0.05) is is_one


@pytest.mark.parametrize(("placement", "factor", "failed"), [(0.01, 1.0, 0), (0.005, 1.1, 30)])
def test_of_thirty_equal_models_none_fails_and_each_slow_one_does(
    placement: float, factor: float, failed: int
) -> None:
    rng = np.random.default_rng(0)

    def attempt() -> Attempt:
        models = {
            BASE: times(rng, placement),
            CONTROL: times(rng, placement),
            CANDIDATE: times(rng, placement, factor),
        }
        return Attempt(
            [{name: list(rows[block]) for name, rows in models.items()} for block in range(BLOCKS)]
        )

    fails = [all(timing_reasons([attempt()], resolution=0.05) for _ in range(3)) for _ in range(30)]
    assert sum(fails) == failed


def test_a_merge_that_lost_the_method_fails() -> None:
    outputs = {"largest": 2.0, "changed_by_method": 0.5, "changed_by_merging": 0.5}
    assert outputs_reasons(outputs) == ["Merging changed the outputs by up to 0.5, where the largest is 2."]
    assert outputs_reasons(outputs | {"changed_by_merging": 1e-5}) == []
