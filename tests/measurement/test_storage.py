"""Sizes of written files, compared with safetensors itself, closed forms and the file of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from safetensors.torch import save

from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.run import execute
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.models import build_bare
from gluelamp.measurement.storage import measure_files

Models = Callable[..., MeasuredModel]
TinyRun = Callable[..., RunConfig]
CHECKSUM = "f" * 64


@pytest.mark.parametrize("method", ["full", "pafi", "hiwi", "xpeft"])
def test_a_file_is_as_long_as_its_tensors_and_their_names(measured_model: Models, method: str) -> None:
    model = measured_model("tiny", method)
    row = measure_files(model)
    adaptation = model.method.adapt(build_bare(model.backbone))
    shared = {name: value.contiguous() for name, value in adaptation.shared_state().items()}
    header = {"backbone": CHECKSUM, "shared": CHECKSUM if shared else ""}
    task = {name: value.contiguous() for name, value in adaptation.task_state().items()}
    assert row["task_file_bytes"] == len(save(task, header))
    assert row["shared_file_bytes"] == (len(save(shared, header)) if shared else 0)


def test_hiwi_on_minilm_stores_two_biases_a_block_and_the_head(measured_model: Models) -> None:
    row = measure_files(measured_model("minilm", "hiwi"))
    biases, head = 4 * 6 * (384 + 1536), 4 * 2 * (384 + 1)
    assert (row["counted_bytes"], row["head_bytes"]) == (biases, head)
    assert (row["shared_bytes"], row["shared_file_bytes"]) == (0, 0)
    assert biases + head < row["task_file_bytes"] < biases + head + 2_000  # names and checksums


def test_a_trained_pooler_is_stored_with_the_head(measured_model: Models) -> None:
    frozen, trained = (
        measure_files(measured_model("tiny", "hiwi", train_pooler=train_pooler))
        for train_pooler in (False, True)
    )
    assert trained["head_bytes"] - frozen["head_bytes"] == 4 * (32 * 32 + 32)
    assert trained["task_file_bytes"] > frozen["task_file_bytes"] + 4 * (32 * 32 + 32)


def test_a_run_writes_a_file_of_this_size(measured_model: Models, tiny_run: TinyRun) -> None:
    record = execute(tiny_run("method=hiwi", "task=cola", "trainer.epochs=1"))
    row = measure_files(measured_model("tiny", "hiwi"))
    assert row["task_file_bytes"] == record.bytes.file
