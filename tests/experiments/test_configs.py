"""Every config file composes and parses; a new file is tested without a change here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from gluelamp.cli.sweep import sweep_jobs
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.plan import check_run
from gluelamp.package_data import CONFIGS
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.glue import GLUE

GROUPS = ("backbone", "method", "task", "data", "head", "trainer", "tracker", "runtime")
# A task without training rows is for prediction only: its config cannot make a run.
PREDICTED = {name for name, task in GLUE.items() if "train" not in task.rows}
CONFIG_FILES = sorted(
    path for group in GROUPS for path in (CONFIGS / group).glob("*.yaml") if path.stem not in PREDICTED
)
SWEEPS = sorted(
    path
    for path in (CONFIGS / "experiment").glob("*.yaml")
    if "# gluelamp train" in path.read_text(encoding="utf-8")
)

Compose = Callable[..., dict[str, Any]]


def override_of(path: Path) -> str:
    return f"{path.parent.name}={path.stem}"


def test_the_groups_are_those_of_the_primary_configuration() -> None:
    defaults = OmegaConf.load(CONFIGS / "train.yaml").defaults
    named = {str(group) for entry in defaults if entry != "_self_" for group in entry}
    assert named - {"experiment", "debug", "optional local"} == set(GROUPS)
    assert len(CONFIG_FILES) > 30


@pytest.mark.parametrize("file", CONFIG_FILES, ids=override_of)
def test_a_config_composes_and_parses(compose: Compose, file: Path) -> None:
    raw = compose(override_of(file))
    config = parse_run(raw)
    assert isinstance(config, RunConfig)
    if file.parent.name in ("backbone", "method", "task", "tracker"):
        # Results are stored under the name of the file, and those on a user's own rows under that of theirs.
        assert raw[file.parent.name]["name"] == (None if file.stem == "custom" else file.stem)
    if file.parent.name == "method":
        assert is_dataclass(config.method)
        assert {field.name for field in fields(config.method)} == raw["method"].keys() - {"_target_", "name"}


def test_each_task_has_a_config() -> None:
    assert {path.stem for path in (CONFIGS / "task").glob("*.yaml")} == {*TASKS, "mixture", "custom"}


def test_the_trainer_config_has_the_defaults_of_the_class(compose: Compose) -> None:
    rates = ("trainer.learning_rate=1e-3", "trainer.head_learning_rate=null")  # the methods set their own
    config = parse_run(compose("trainer=default", *rates))
    assert config.trainer == type(config.trainer)()


@pytest.mark.parametrize("sweep", SWEEPS, ids=override_of)
def test_the_jobs_of_an_experiment_pass_the_check_of_a_sweep(compose: Compose, sweep: Path) -> None:
    params = OmegaConf.select(OmegaConf.load(sweep), "hydra.sweeper.params", default={})
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        jobs = sweep_jobs([f"{key}={value}" for key, value in params.items()]) if params else [[]]
    for word in {word for job in jobs for word in job}:
        group, _, name = word.partition("=")
        assert "." in group or group in ("seed", "trial") or (CONFIGS / group / f"{name}.yaml").is_file(), (
            word
        )
    for job in (jobs[0], jobs[-1]):
        check_run(compose(override_of(sweep), *job))


@pytest.mark.parametrize("sweep", SWEEPS, ids=override_of)
def test_an_experiment_starts_with_the_command_that_runs_it(sweep: Path) -> None:
    comment = [line for line in sweep.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    multirun = "-m " if "sweeper" in sweep.read_text(encoding="utf-8") else ""
    assert any(f"gluelamp train {multirun}{override_of(sweep)}" in line for line in comment)


def test_the_command_line_replaces_the_values_of_an_experiment() -> None:
    own = ["method=pafi,lora", "task=cola,rte"]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        jobs = sweep_jobs([*own, "method=hiwi", "seed=0,1"])
    assert jobs == [
        ["method=hiwi", f"task={task}", f"seed={seed}"] for task in ("cola", "rte") for seed in (0, 1)
    ]
