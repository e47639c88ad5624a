"""`gl.train`, `gl.measure` and `gl.results` do what the commands do, with the same configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file

import gluelamp as gl
from gluelamp.api import _composed
from gluelamp.experiments.config import parse_run
from gluelamp.experiments.plan import plan_run
from gluelamp.package_data import CONFIGS
from tiny_models import same_bits

SMALL = {
    "trainer": {"epochs": 1, "batch_size": 8, "precision": "fp32", "device": "cpu"},
    "task.max_train_examples": 16,
}


def test_a_run_is_that_of_the_command_line(
    compose: Callable[..., dict[str, Any]], tiny_backbone: Path, tmp_path: Path
) -> None:
    backbone = {"backbone": "tiny", "backbone.path": tiny_backbone}
    record = gl.train("hiwi", "cola", "sample", results=tmp_path, **SMALL, **backbone, seed=1)
    assert record.status == "complete"
    words = (
        *("method=hiwi", "task=cola", "data=sample", "backbone=tiny", f"backbone.path={tiny_backbone}"),
        *("trainer.epochs=1", "trainer.batch_size=8", "trainer.precision=fp32", "trainer.device=cpu"),
        *("task.max_train_examples=16", f"results.root={tmp_path}", "seed=1"),
    )
    folder = next(tmp_path.glob("runs/*/*/*/*/record.json")).parent
    assert plan_run(parse_run(compose(*words))).folder == folder

    adapted = gl.trained("hiwi", "cola", "sample", results=tmp_path, **SMALL, **backbone, seed=1)
    stored = load_file(folder / "best.safetensors")
    assert all(same_bits(value, stored[name]) for name, value in adapted.task_state().items())
    with pytest.raises(gl.InputError, match="not complete"):
        gl.trained("hiwi", "cola", "sample", results=tmp_path, **SMALL, **backbone, seed=2)

    scores = gl.results(tmp_path)
    assert set(scores["method"]) == {"hiwi"}
    best = scores[(scores["selection"] == "best") & scores["is_main"]]
    assert best["value"].tolist() == [record.metrics["best"]["matthews_correlation"]]
    assert gl.results(tmp_path / "empty").empty


def test_a_measurement_is_returned(tmp_path: Path) -> None:
    (row,) = gl.measure("parameters", "hiwi", "roberta_large", results=tmp_path)
    assert row["stored_values"] == 122_880
    with pytest.raises(gl.InputError, match="did you mean 'hiwi'"):
        gl.measure("parameters", "hivi", results=tmp_path)


def test_values_arrive_as_they_were_given() -> None:
    root = 'C:\\data "new"\\a=b, c\\'
    values = {"data.root": root, "seed": 3, "trial": None, "trainer": {"dropout": 0.5, "graphs": False}}
    composed = _composed("train", {**values, "method": "lora", "method.targets": ["key", "up"]})
    assert composed["data"]["root"] == root
    assert (composed["seed"], composed["trial"], composed["trainer"]["dropout"]) == (3, None, 0.5)
    assert composed["method"]["targets"] == ["key", "up"]
    with pytest.raises(gl.InputError, match=r"did you mean 'trainer\.epochs'"):
        _composed("train", {"trainer": {"epoch": 1}})


def test_a_programs_own_use_of_hydra_is_left_as_it_was() -> None:
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        own = GlobalHydra.instance().hydra
        _composed("train", {"seed": 1})
        assert GlobalHydra.instance().hydra is own
    assert not GlobalHydra.instance().is_initialized()
    _composed("train", {"seed": 1})
    assert not GlobalHydra.instance().is_initialized()
