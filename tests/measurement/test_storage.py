"""Bytes of files that were really written, against safetensors itself, closed forms and a run's own file."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from safetensors.torch import save

from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.measure import MeasureConfig
from gluelamp.experiments.run import execute
from gluelamp.measurement.states import build_bare
from gluelamp.measurement.storage import measure_storage

Measuring = Callable[..., MeasureConfig]
TinyRun = Callable[..., RunConfig]
TINY = ("backbone=tiny", "backbone.path=null")
CHECKSUM = "f" * 64


@pytest.mark.parametrize("method", ["full", "lora", "pafi", "hiwi", "houlsby", "xpeft"])
def test_a_file_is_as_long_as_its_tensors_and_their_names(measuring: Measuring, method: str) -> None:
    config = measuring(*TINY, f"method={method}")
    (row,) = measure_storage(config.backbone, config.method)
    adaptation = config.method.adapt(build_bare(config.backbone))
    shared = {name: value.contiguous() for name, value in adaptation.shared_state().items()}
    header = {"backbone": CHECKSUM, "shared": CHECKSUM if shared else ""}
    task = {name: value.contiguous() for name, value in adaptation.task_state().items()}
    assert row["task_file_bytes"] == len(save(task, header))
    assert row["shared_file_bytes"] == (len(save(shared, header)) if shared else 0)


def test_hiwi_on_minilm_stores_two_biases_a_block_and_the_head(measuring: Measuring) -> None:
    config = measuring("method=hiwi")
    (row,) = measure_storage(config.backbone, config.method)
    biases, head = 4 * 6 * (384 + 1536), 4 * 2 * (384 + 1)
    assert (row["counted_bytes"], row["head_bytes"]) == (biases, head)
    assert (row["shared_bytes"], row["shared_file_bytes"]) == (0, 0)
    assert biases + head < row["task_file_bytes"] < biases + head + 2_000  # names and checksums


def test_the_pooler_is_stored_with_the_head_it_is_trained_with(measuring: Measuring) -> None:
    config = measuring(*TINY, "method=hiwi")
    ((without,), (beside,)) = (
        measure_storage(config.backbone, config.method, train_pooler) for train_pooler in (False, True)
    )
    assert beside["head_bytes"] - without["head_bytes"] == 4 * (32 * 32 + 32)
    assert beside["task_file_bytes"] > without["task_file_bytes"] + 4 * (32 * 32 + 32)


def test_a_run_leaves_a_file_of_that_length(measuring: Measuring, tiny_run: TinyRun) -> None:
    record = execute(tiny_run("method=hiwi", "task=cola", "trainer.epochs=1"))
    config = measuring(*TINY, "method=hiwi")
    (row,) = measure_storage(config.backbone, config.method)
    assert row["task_file_bytes"] == record.bytes["file"]
