"""A method from outside the package needs three things: a file, a config and a test row."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from safetensors.torch import load_file

from experiments.helpers import run_folder
from gluelamp.cli.app import plain
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.measure import measure, parse_measure
from gluelamp.experiments.run import execute
from gluelamp.package_data import CONFIGS

FILE = """
from typing import ClassVar

from gluelamp.methods.base import Method
from gluelamp.methods.changes.tensors import layer_norm_names, replace_tensors


class NormBias(Method):
    family: ClassVar[str] = "bias"
    norms: int = 1

    def changes(self, model, parts):
        names = [name for name in layer_norm_names(model, parts) if name.endswith("bias")]
        return [*replace_tensors(model, names[: self.norms])]
"""
CONFIG = """
# @package _global_
method:
  _target_: outside.NormBias
  name: norm_bias
  norms: 1

trainer:
  learning_rate: 1.0e-2
"""
ROW = {"options": ["method.norms=3"], "trained": 3 * 32}  # the hidden size is 32


@pytest.fixture
def compose_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    (tmp_path / "outside.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "configs" / "method").mkdir(parents=True)
    (tmp_path / "configs" / "method" / "norm_bias.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def compose(primary: str, *overrides: str) -> dict[str, Any]:
        places = (f"hydra.searchpath=[file://{tmp_path}/configs]", f"results.root={tmp_path}/results")
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            chosen = ["method=norm_bias", *places, *ROW["options"], *overrides]
            return plain(hydra.compose(primary, overrides=chosen))

    yield compose
    sys.modules.pop("outside", None)


def test_a_method_of_another_package_is_trained_and_counted(
    compose_outside: Callable[..., dict[str, Any]], tiny_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    provided = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert provided == {"outside.py", "norm_bias.yaml"}  # and ROW: nothing in the package has changed

    small = tiny_run("trainer.epochs=1")
    data = ("backbone=tiny", f"backbone.path={small.backbone.path}", "data=sample")
    short = ("trainer.epochs=1", "task.max_train_examples=16", "trainer.device=cpu")
    config = parse_run(compose_outside("train", *data, *short))
    record = execute(config)
    assert (record.status, record.family, record.config.method.name) == ("complete", "bias", "norm_bias")
    assert "method.norms=3" in record.overrides
    assert record.parameters.trained == ROW["trained"]
    state = load_file(run_folder(config) / "best.safetensors")
    assert sum(value.numel() for name, value in state.items() if "LayerNorm" in name) == ROW["trained"]

    counted = measure(parse_measure(compose_outside("measure", *data[:2], "what=parameters")))
    (row,) = json.loads(counted.read_text(encoding="utf-8"))["rows"]
    assert row["trained"] == ROW["trained"]
