"""Latency: its parts, rows and statistics, never the time itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from gluelamp.backbones.load import BackboneConfig
from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig
from gluelamp.measurement.base import MeasuredModel, Row
from gluelamp.measurement.latency import Latency, ratio_to_base
from gluelamp.methods.base import Method
from gluelamp.records import MEASUREMENT_COLUMNS
from tiny_models import POSITIONS, backbone

Measuring = Callable[..., MeasureConfig]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def time_all(shape: BackboneConfig, method: Method, latency: Latency) -> list[Row]:
    parts = latency.parts([])
    return [row for rows in latency.measure(MeasuredModel(shape, method), parts) for row in rows]


@pytest.mark.parametrize(
    ("method", "states"),
    [("pafi", ["base", "unmerged", "merged"]), ("pfeiffer", ["base", "unmerged"])],
)
def test_each_batch_and_length_has_one_row_a_state(
    measuring: Measuring, method: str, states: list[str]
) -> None:
    config = measuring(f"method={method}", "latency.batches=[1,2]", "latency.lengths=[5]")
    rows = time_all(backbone("bert"), config.method, config.latency)
    settings = [(1, 5), (2, 5)]
    assert [(row["batch"], row["length"], row["state"]) for row in rows] == [
        (*setting, state) for setting in settings for state in states
    ]
    for row in rows:
        assert row.keys() >= {*MEASUREMENT_COLUMNS["latency"], "ratio_low", "ratio_high", "same_operators"}
        assert (row["device"], row["dtype"]) == ("cpu", "float32")
        assert 0 < row["ratio_low"] <= row["ratio_to_base"] <= row["ratio_high"]
        assert row["same_operators"] is (row["state"] != "unmerged")
        if row["state"] == "base":
            assert (row["ratio_low"], row["ratio_to_base"], row["ratio_high"]) == (1, 1, 1)


@pytest.mark.parametrize("method", ["hiwi_weight", "xpeft"])
def test_the_whole_model_runs_in_bf16(measuring: Measuring, method: str) -> None:
    config = measuring(f"method={method}", "latency.precisions=[bf16]", "latency.rounds=2")
    rows = time_all(backbone("bert"), config.method, config.latency)
    assert {row["dtype"] for row in rows} == {"bfloat16"}
    assert all(row["same_operators"] for row in rows if row["state"] == "merged")


def test_the_number_of_threads_is_set_and_restored(
    measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, numbers = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    config = measuring("method=lora", "latency.threads=3")
    time_all(backbone("bert"), config.method, config.latency)
    assert numbers == [3, before]


@pytest.mark.parametrize(("architecture", "limit"), [("bert", POSITIONS), ("roberta", POSITIONS - 2)])
def test_a_length_beyond_the_last_position_is_refused(
    measuring: Measuring, architecture: str, limit: int
) -> None:
    config = measuring("method=bitfit")
    shape = backbone(architecture)
    time_all(shape, config.method, replace(config.latency, lengths=(limit,)))
    with pytest.raises(InputError, match=f"at most {limit} tokens"):
        time_all(shape, config.method, replace(config.latency, lengths=(8, limit + 1)))


def test_identical_times_have_the_ratio_one_without_uncertainty() -> None:
    times = np.array([3.0, 4.0, 3.5, 9.0])
    assert ratio_to_base(times, times) == {"ratio_to_base": 1, "ratio_low": 1, "ratio_high": 1}


def test_a_drift_over_the_rounds_does_not_change_the_ratio() -> None:
    rng = np.random.default_rng(0)
    base, times = 1 + rng.random(30), 1.2 + rng.random(30)
    drift = np.linspace(1, 8, 30)
    assert ratio_to_base(times * drift, base * drift) == pytest.approx(ratio_to_base(times, base))


def test_the_interval_is_that_of_the_median_of_paired_ratios() -> None:
    rng = np.random.default_rng(0)
    base = 1 + rng.random(40)
    ratios = 1.1 * np.exp(0.05 * rng.standard_normal(40))
    found = ratio_to_base(base * ratios, base)
    assert found["ratio_to_base"] == pytest.approx(np.median(ratios))
    # the exact 95 % interval of a median, from the ranks that a fair coin gives: 14 and 27 of 40
    ordered = np.sort(ratios)
    assert ordered[12] <= found["ratio_low"] <= ordered[14]
    assert ordered[25] <= found["ratio_high"] <= ordered[27]


def test_equal_models_with_noise_have_an_interval_that_contains_one() -> None:
    rng = np.random.default_rng(0)
    times, base = 1 + 0.1 * rng.random((2, 100))
    found = ratio_to_base(times, base)
    assert found["ratio_low"] < 1 < found["ratio_high"]
    assert found["ratio_high"] - found["ratio_low"] < 0.05


def test_parts_are_ordered_by_precision(measuring: Measuring) -> None:
    latency = measuring("latency.precisions=[fp32,bf16]", "latency.batches=[1,2]").latency
    parts = [(part["precision"], part["batch"], part["graphs"]) for part in latency.parts([])]
    assert parts == [("fp32", 1, False), ("fp32", 2, False), ("bf16", 1, False), ("bf16", 2, False)]


@needs_gpu
def test_on_a_gpu_passes_are_timed_with_and_without_graphs(measuring: Measuring) -> None:
    config = measuring("method=pafi", "latency.device=cuda")
    rows = time_all(backbone("bert"), config.method, config.latency)
    states = ("base", "unmerged", "merged")
    assert [(row["device"], row["state"]) for row in rows] == [
        (device, state) for device in ("cuda", "cuda graphs") for state in states
    ]
    assert all(row["median_ms"] > 0 for row in rows)
