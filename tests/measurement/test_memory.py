"""Peak memory, against tensors of known size and the closed form of AdamW's state."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from gluelamp.backbones.load import BackboneConfig
from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig
from gluelamp.measurement import memory
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.memory import measure_in_new_process, rise_of_peak
from gluelamp.records import MEASUREMENT_COLUMNS

Measuring = Callable[..., MeasureConfig]
CPU = torch.device("cpu")
MIB = 2**20
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak cannot be reset here"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


Models = Callable[[str], MeasuredModel]


@pytest.fixture
def model(measured_model: Callable[..., MeasuredModel]) -> Models:
    """Return a method on an encoder of 4.1 million values, nearly all of them word embeddings."""

    def build(method: str) -> MeasuredModel:
        tiny = measured_model("tiny", method)
        shape = {**tiny.backbone.shape, "vocab_size": 32_000, "hidden_size": 128}
        return MeasuredModel(BackboneConfig(name="words", shape=shape), tiny.method)

    return build


@needs_proc
def test_the_rise_is_that_of_the_largest_tensor_at_a_time() -> None:
    memory.return_freed_memory()

    def step() -> None:
        for _ in range(3):
            torch.ones(16 * MIB)  # 64 MiB, freed before the next one

    # Tensors of this size have memory mappings of their own, so freed memory of earlier tests is not reused.
    assert rise_of_peak(step, CPU) == pytest.approx(64 * MIB, abs=2 * MIB)


@needs_proc
def test_full_fine_tuning_holds_a_gradient_and_two_moments_of_each_value(model: Models) -> None:
    trained = 4 * (32_000 + 128 + 2) * 128  # bytes; the two blocks add a twentieth
    row = measure_in_new_process(model("full"), "training", CPU, batch=1, length=4)
    assert row["model_bytes"] == pytest.approx(2 * trained, rel=0.06)  # the frozen weights stay
    # AdamW works on at most two more of the largest tensor
    assert 3 * trained < row["step_bytes"] < 5.5 * trained


def test_each_part_has_one_row_per_state(
    measured_model: Callable[..., MeasuredModel], measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "measure_in_new_process", memory.measure_memory)
    kind = measuring("memory.lengths=[4]").memory
    for method, states in (
        ("bitfit", ["base", "unmerged", "merged", "training"]),
        ("pfeiffer", ["base", "unmerged", "training"]),
    ):
        rows = list(kind.measure(measured_model("tiny", method), kind.parts([])))
        assert [[row["state"] for row in part] for part in rows] == [states]
        assert all(row.keys() >= set(MEASUREMENT_COLUMNS["memory"]) for part in rows for row in part)
        by_state = {row["state"]: row["model_bytes"] for row in rows[0]}
        assert by_state.get("merged", by_state["base"]) == by_state["base"]
        assert by_state["unmerged"] >= by_state["base"]


def test_a_gpu_is_named_in_the_setting_and_a_processor_is_not(
    model: Models, measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, lora = measuring().memory, model("lora")
    assert kind.settings(lora)["device"] == "cpu"
    monkeypatch.setattr(memory, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(memory, "device_name", lambda _: "A GPU")
    assert kind.settings(lora)["device"] == "cuda (A GPU)"


def test_a_killed_process_is_a_sentence(model: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(memory.ProcessPoolExecutor, "submit", killed)
    with pytest.raises(InputError, match=r"was killed, .* Take smaller memory\.batches"):
        measure_in_new_process(model("lora"), "training", CPU, batch=1, length=4)


@needs_gpu
def test_on_a_gpu_the_rise_is_that_of_torch_s_allocations() -> None:
    device = torch.device("cuda")
    assert rise_of_peak(lambda: torch.ones(16 * MIB, device=device), device) == 64 * MIB
