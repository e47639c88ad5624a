"""Every leaf of the configuration composes and parses; a new leaf is tested by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from gluelamp.cli.app import CONFIGS
from gluelamp.cli.sweep import sweep_jobs
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.plan import check_run
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.glue import GLUE

GROUPS = ("backbone", "method", "task", "data", "trainer", "tracker", "runtime")
# A task without training rows is for prediction; its leaf cannot make a run.
PREDICTED = {name for name, task in GLUE.items() if "train" not in task.rows}
LEAVES = sorted(
    path for group in GROUPS for path in (CONFIGS / group).glob("*.yaml") if path.stem not in PREDICTED
)
SWEEPS = sorted(
    path
    for path in (CONFIGS / "experiment").glob("*.yaml")
    if "scripts/train.py" in path.read_text(encoding="utf-8")
)

Compose = Callable[..., dict[str, Any]]


def leaf_id(path: Path) -> str:
    return f"{path.parent.name}={path.stem}"


def test_the_groups_are_those_of_the_primary_configuration() -> None:
    defaults = OmegaConf.load(CONFIGS / "train.yaml").defaults
    named = {str(group) for entry in defaults if entry != "_self_" for group in entry}
    assert named - {"experiment"} == set(GROUPS)
    assert len(LEAVES) > 30


@pytest.mark.parametrize("leaf", LEAVES, ids=leaf_id)
def test_a_leaf_composes_and_parses(compose: Compose, leaf: Path) -> None:
    raw = compose(leaf_id(leaf))
    assert isinstance(parse_run(raw), RunConfig)
    if leaf.parent.name in ("backbone", "method", "task", "tracker"):
        assert raw[leaf.parent.name]["name"] == leaf.stem  # results are stored under the leaf's name


def test_each_task_has_a_leaf() -> None:
    assert {path.stem for path in (CONFIGS / "task").glob("*.yaml")} == {*TASKS, "mixture"}


def test_the_trainers_leaf_says_what_the_code_says(compose: Compose) -> None:
    rates = ("trainer.learning_rate=1e-3", "trainer.head_learning_rate=null")  # the methods set their own
    config = parse_run(compose("trainer=default", *rates))
    assert config.trainer == type(config.trainer)()


def test_a_methods_leaf_names_every_field(compose: Compose) -> None:
    for leaf in sorted((CONFIGS / "method").glob("*.yaml")):
        raw = compose(f"method={leaf.stem}")["method"]
        method = parse_run(compose(f"method={leaf.stem}")).method
        assert is_dataclass(method)
        own = {field.name for field in fields(method)} - {"name", "learning_rate", "head_learning_rate"}
        assert own == raw.keys() - {"_target_", "name"}, leaf.name


@pytest.mark.parametrize("sweep", SWEEPS, ids=leaf_id)
def test_each_job_of_an_experiment_passes_the_check_of_a_sweep(compose: Compose, sweep: Path) -> None:
    own = OmegaConf.load(sweep)
    params = OmegaConf.select(own, "hydra.sweeper.params", default={})
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        jobs = [job for key, value in params.items() for job in sweep_jobs([f"{key}={value}"])]
    for job in jobs or [[]]:
        check_run(compose(leaf_id(sweep), *job))
    assert jobs or not params


@pytest.mark.parametrize("sweep", SWEEPS, ids=leaf_id)
def test_an_experiment_begins_with_the_command_that_runs_it(sweep: Path) -> None:
    comment = [line for line in sweep.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    multirun = "-m " if "sweeper" in sweep.read_text(encoding="utf-8") else ""
    assert any(f"python scripts/train.py {multirun}{leaf_id(sweep)}" in line for line in comment)


def test_the_command_line_replaces_what_an_experiment_sweeps_over() -> None:
    own = ["method=pafi,lora", "task=cola,rte"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        jobs = sweep_jobs([*own, "method=hiwi", "seed=0,1"])
    assert jobs == [
        ["method=hiwi", f"task={task}", f"seed={seed}"] for task in ("cola", "rte") for seed in (0, 1)
    ]
