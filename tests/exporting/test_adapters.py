"""The files for the ``adapters`` library: loaded by it where it is installed, and in its names everywhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from gluelamp.errors import InputError
from gluelamp.exporting import export, prepare
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.phases import adapt_untrained
from methods.cases import GetMethod, make_case
from methods.rows import ONE_OF_EACH, Row
from tiny_models import batch, logits, tiny

TOLERANCE = 2e-6  # of logits of size one: another release of transformers, another order of operations
FROZEN = "train_layer_norm=false"
SHAPES = Path(__file__).parents[1] / "fixtures" / "adapters_shapes.json"

ROWS = {
    row.config: row
    for row in (
        Row("houlsby", None, ("bottleneck=7", FROZEN)),
        Row("pfeiffer", None),
        Row("parallel", None, ("bottleneck=8",)),
        Row("compacter", None, ("reduction_factor=8", "rule_std=0.1")),
        Row("compacter_plus", None, ("reduction_factor=8", "rule_std=0.1")),
        Row("xpeft", None, ("num_adapters=10", "top_k=4")),
        Row("xpeft_soft", None, ("num_adapters=10",)),
        Row("adamix", None, ("bottleneck=8",)),
        Row("loretta_adp", None, ("bottleneck=8",)),
    )
} | {"houlsby_with_norms": Row("houlsby", None, ("bottleneck=8",))}
CELLS = [
    *((config, architecture) for config in ROWS for architecture in ("bert", "distilbert")),
    *(("houlsby", other) for other in ("roberta", "xlm-roberta", "electra", "deberta-v2")),
    *(("pfeiffer", other) for other in ("roberta", "electra", "deberta-v2")),
    *(("linear_head", other) for other in ("bert", "roberta", "deberta-v2")),
]


@pytest.fixture(scope="module")
def cases(method: GetMethod, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone, an export and a pass of each cell."""
    root = tmp_path_factory.mktemp("adapters")
    for config, architecture in (cell for cell in CELLS if cell[0] in ROWS):
        case = make_case(ROWS[config], architecture, method(ROWS[config].config, *ROWS[config].overrides))
        folder = root / f"{config}-{architecture}"
        write_case(folder, case.bare, case.adaptation)
    for _, architecture in (cell for cell in CELLS if cell[0] == "linear_head"):
        adapted = method("pfeiffer").adapt(tiny(architecture, "linear"))
        write_case(root / f"linear_head-{architecture}", tiny(architecture), adapted)
    return root


def write_case(folder: Path, backbone: PreTrainedModel, adapted: Adaptation) -> None:
    backbone.save_pretrained(folder / "backbone")
    export(adapted, folder / "exported", "adapters")
    torch.save({"inputs": batch(), "logits": logits(adapted.model)}, folder / "pass.pt")


@pytest.fixture(scope="module")
def library(cases: Path) -> dict[str, Any]:
    """What the library computes for each cell; the test is skipped where it is not installed."""
    python = os.environ.get("GLUELAMP_ADAPTERS_PYTHON")
    if not python:
        pytest.skip("GLUELAMP_ADAPTERS_PYTHON is not set; tests/exporting/library_adapters.py explains it")
    script = Path(__file__).parent / "library_adapters.py"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    printed = subprocess.run(
        [python, script, cases], stdout=subprocess.PIPE, check=True, env=environment
    ).stdout
    return json.loads(printed)


@pytest.mark.parametrize(("config", "architecture"), CELLS)
def test_the_library_computes_the_same_outputs(
    library: dict[str, Any], config: str, architecture: str
) -> None:
    found = library[f"{config}-{architecture}"]
    assert found["difference"] <= TOLERANCE
    assert not found["unexpected"]


def test_the_stored_shapes_are_those_of_the_library(library: dict[str, Any]) -> None:
    assert {name: found["shapes"] for name, found in library.items()} == json.loads(SHAPES.read_text("utf-8"))


@pytest.mark.parametrize(("config", "architecture"), CELLS)
def test_the_files_have_the_names_and_shapes_of_the_library(
    cases: Path, config: str, architecture: str
) -> None:
    name = f"{config}-{architecture}"
    written = {
        file.name: {key: [*value.shape] for key, value in torch.load(file, weights_only=True).items()}
        for file in sorted((cases / name / "exported").glob("*.bin"))
    }
    assert written == json.loads(SHAPES.read_text("utf-8"))[name]


@pytest.mark.parametrize("config", sorted({config for config, _ in ONE_OF_EACH} - ROWS.keys()))
def test_what_is_no_bottleneck_adapter_is_refused(method: GetMethod, config: str) -> None:
    adaptation = adapt_untrained(method(config, *ONE_OF_EACH[config, "bert"].overrides), tiny("bert"))
    with pytest.raises(InputError, match=r"not possible: (AdapterHub holds|.* no adapter at '.*query')"):
        prepare(adaptation, "adapters")


def test_an_architecture_that_the_library_lacks_is_refused(method: GetMethod) -> None:
    adaptation = method("pfeiffer").adapt(tiny("mpnet"))
    with pytest.raises(InputError, match="has no adapters for 'mpnet'"):
        prepare(adaptation, "adapters")
