"""A method of another installed package needs three things: a file, a config and a test row."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from safetensors.torch import load_file

import gluelamp
from experiments.helpers import run_folder
from gluelamp.cli.app import plain
from gluelamp.experiments.compose import initialized_hydra
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.measure import measure, parse_measure
from gluelamp.experiments.run import execute
from gluelamp.methods.registry import default_rates, known_methods
from outside_package import install_outside

ROW = {"options": ["method.norms=3"], "trained": 3 * 32}  # the hidden size is 32


@pytest.fixture
def compose_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.syspath_prepend(install_outside(tmp_path / "site"))

    def compose(primary: str, *overrides: str) -> dict[str, Any]:
        chosen = ["method=norm_bias", f"results.root={tmp_path}/results", *ROW["options"], *overrides]
        with initialized_hydra():
            return plain(hydra.compose(primary, overrides=chosen))

    yield compose
    for name in ("outside.norms", "outside"):
        sys.modules.pop(name, None)


def test_a_method_of_another_package_is_trained_and_counted(
    compose_outside: Callable[..., dict[str, Any]], tiny_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    small = tiny_run("trainer.epochs=1")
    data = ("backbone=tiny", f"backbone.path={small.backbone.path}", "data=sample")
    short = ("trainer.epochs=1", "task.max_train_examples=16", "trainer.device=cpu")
    config = parse_run(compose_outside("train", *data, *short))
    record = execute(config)
    assert (record.status, record.family, record.config.method.name) == ("complete", "bias", "norm_bias")
    assert record.overrides[1:2] == ["method=norm_bias"]
    assert "method.norms=3" in record.overrides
    assert record.parameters.trained == ROW["trained"]
    state = load_file(run_folder(config) / "best.safetensors")
    assert sum(value.numel() for name, value in state.items() if "LayerNorm" in name) == ROW["trained"]

    counted = measure(parse_measure(compose_outside("measure", *data[:2], "what=parameters")))
    (row,) = json.loads(counted.read_text(encoding="utf-8"))["rows"]
    assert row["trained"] == ROW["trained"]


def test_the_library_makes_a_method_of_another_package_by_name(
    compose_outside: Callable[..., dict[str, Any]],
) -> None:
    method = gluelamp.method("norm_bias", norms=2)
    names = known_methods.__wrapped__()  # without the cache, which other tests of this process filled
    assert (type(method), method.norms) == (names["norm_bias"], 2)
    assert default_rates(method) == (1e-2, None)
