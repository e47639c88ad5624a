"""From a composed configuration to a measurement's file."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch

from gluelamp.cli.app import CONFIGS, RunFailedError
from gluelamp.cli.sweep import SweepCallback
from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig, measure, parse_measure
from gluelamp.records import find_measurements

Measuring = Callable[..., MeasureConfig]
TINY = ("backbone=tiny", "backbone.path=null")
SCRIPT = CONFIGS.parent / "scripts" / "measure.py"


@pytest.mark.parametrize("what", ["parameters", "storage", "flops", "latency"])
def test_a_measurement_is_found_where_tables_look_for_it(
    measuring: Measuring, tmp_path: Path, what: str
) -> None:
    path = measure(measuring(*TINY, "method=pafi", f"what={what}"))
    assert path.parent == tmp_path / "measurements" / what / "tiny"
    (found,) = find_measurements(tmp_path, what)
    assert (found.backbone, found.method, found.config["density"]) == ("tiny", "pafi", 0.005)


def test_a_measurement_that_is_there_is_kept_or_replaced(measuring: Measuring) -> None:
    path = measure(measuring(*TINY))
    path.write_text('"mine"', encoding="utf-8")
    assert measure(measuring(*TINY, "on_existing=skip")) == path
    assert path.read_text(encoding="utf-8") == '"mine"'
    assert measure(measuring(*TINY, "on_existing=retrain")) == path
    assert json.loads(path.read_text(encoding="utf-8"))["method"] == "lora"


def test_a_damaged_measurement_is_not_taken_for_one(measuring: Measuring) -> None:
    path = measure(measuring(*TINY))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"json is not JSON: .*\. Remove it and run again\."):
        measure(measuring(*TINY))
    measure(measuring(*TINY, "on_existing=retrain"))
    assert path.read_bytes() == whole


def test_too_little_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch, measuring: Measuring) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB.")

    monkeypatch.setattr("gluelamp.experiments.measure.measure", too_large)
    monkeypatch.setattr("gluelamp.experiments.measure.parse_measure", lambda _: measuring(*TINY))
    with pytest.raises(RunFailedError, match="too little free memory for this measurement"):
        runpy.run_path(str(SCRIPT))["run"]({})


@pytest.mark.parametrize("wrong", ["hidden_size=33", "model_type=nope", "vocab_size=abc"])
def test_a_shape_that_no_encoder_has_is_a_sentence(measuring: Measuring, wrong: str) -> None:
    with pytest.raises(InputError, match=r"backbone\.shape=.* is not usable \("):
        measure(measuring(*TINY, f"backbone.shape.{wrong}"))


@pytest.mark.parametrize(
    "changed", ["method.rank=4", "head.train_pooler=true", "backbone.shape.hidden_size=64", "what=latency"]
)
def test_what_changes_the_rows_changes_the_file(measuring: Measuring, changed: str) -> None:
    assert measure(measuring(*TINY)) != measure(measuring(*TINY, changed))


@pytest.mark.parametrize("changed", ["latency.rounds=2", "latency.batches=[1]", "latency.precisions=[bf16]"])
def test_another_timing_goes_into_another_file(measuring: Measuring, changed: str) -> None:
    timing = (*TINY, "what=latency")
    assert measure(measuring(*timing)) != measure(measuring(*timing, changed))


@pytest.mark.parametrize("changed", ["trainer.learning_rate=1", "++backbone.hub_id=a/b", "latency.rounds=9"])
def test_what_cannot_change_a_count_leaves_its_file_alone(measuring: Measuring, changed: str) -> None:
    assert measure(measuring(*TINY)) == measure(measuring(*TINY, changed))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["what=latncy"], "what='latncy' is not allowed"),
        (["on_existing=fail"], "on_existing='fail' is not allowed"),
        (["latency.lengths=[0]"], r"latency\.lengths\.0=0 is not allowed: it should be greater than 0\.$"),
        (["latency.batches=[]"], r"latency\.batches=\[\] is not allowed: it should have at least 1 item\.$"),
        (["latency.rounds=1"], r"latency\.rounds=1 is not allowed"),
        (["latency.precisions=[fp16]"], r"latency\.precisions\.0='fp16' is not allowed"),
        (["flops.lengths=[]"], r"flops\.lengths=.* is not allowed"),
        (["memory.batches=[0]"], r"memory\.batches\.0=0 is not allowed"),
        (["certificate.state=both"], r"certificate\.state='both' is not allowed"),
        (["certificate.blocks=4"], r"certificate\.blocks=4 is not allowed"),
        (["certificate.resolution=0"], r"certificate\.resolution=0 is not allowed"),
        (["+latency.round=3"], "'round' is unknown; did you mean 'rounds'"),
        (["+hed.train_pooler=true"], "'hed' is unknown; did you mean 'head'"),
        (["method.rank=0"], r"method\.rank=0 is not allowed"),
        (["method._target_=os.system"], "must be the full name of a subclass"),
    ],
)
def test_bad_input_is_named(
    composed: Callable[..., dict[str, Any]], overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        parse_measure(composed(*overrides))


@pytest.mark.parametrize(
    ("primary", "parser"),
    [
        ("measure", "gluelamp.experiments.measure.parse_measure"),
        ("train", "gluelamp.experiments.plan.check_run"),
    ],
)
def test_a_sweep_is_checked_by_the_parser_of_its_own_configuration(primary: str, parser: str) -> None:
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = hydra.compose(primary, return_hydra_config=True)
    callback = hydra.utils.instantiate(config.hydra.callbacks.sweep)
    assert isinstance(callback, SweepCallback)
    assert callback.parse == parser


def test_a_sweep_with_one_wrong_value_measures_nothing(tmp_path: Path) -> None:
    done = command(tmp_path, "-m", "method=glob(xp*)", "method.reduction_factor=16,0")
    assert done.returncode == 2
    assert done.stderr.startswith("error: method.reduction_factor=0 is not allowed")
    assert "Traceback" not in done.stderr
    assert find_measurements(tmp_path, "parameters") == []


def test_a_sweep_measures_each_method(tmp_path: Path) -> None:
    done = command(tmp_path, "-m", "method=glob(xp*)", "backbone=roberta_large")
    assert done.returncode == 0, done.stderr
    found = {one.method: one.rows[0]["stored_bytes"] for one in find_measurements(tmp_path, "parameters")}
    assert found == {"xpeft": 624, "xpeft_soft": 19_200}


def test_a_refused_method_does_not_stop_a_sweep(tmp_path: Path) -> None:
    done = command(tmp_path, "-m", "backbone=deberta_v3_base", "method=prefix,prompt")
    assert done.returncode == 0, done.stderr
    assert "deberta_v3_base prefix is refused: The architecture" in done.stdout
    trained = {one.method: one.rows[0]["trained"] for one in find_measurements(tmp_path, "parameters")}
    assert trained == {"prefix": None, "prompt": 7_680}


def command(root: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *overrides, f"results.root={root}"],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
