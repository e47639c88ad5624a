"""The command in the dialog of a score trains the same run again, when it is pasted."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.identity import effective_config, identity
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.retrain import retrain_overrides
from gluelamp.experiments.run import execute
from gluelamp.package_data import PUBLISHED, REFERENCE
from gluelamp.records import FoundRun, find_runs
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.sections import run_groups
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import prepare

Compose = Callable[..., dict[str, Any]]
TinyRun = Callable[..., RunConfig]


def test_the_pasted_command_names_all_paths_and_trains_again(
    tiny_run: TinyRun, compose: Compose, tmp_path: Path
) -> None:
    data = tmp_path / "my data, with 'quotes'"
    prepare([known_task("cola")], DataConfig("sample"), data)
    config = tiny_run("method=lora", "head=linear", "trainer.epochs=1", "task.max_train_examples=20")
    config = replace(config, data=DataConfig("local", str(data)))
    record = execute(config)
    root = Path(config.results.root)
    results = Results(root, PUBLISHED, words=retrain_overrides)
    (group,) = run_groups(results).values()
    program, subcommand, *words = shlex.split(group.command)
    assert (program, subcommand) == ("gluelamp", "train")
    pasted = parse_run(compose(*words))
    assert pasted.on_existing == "retrain"
    assert plan_run(pasted).identity == record.identity


def reference_runs() -> list[FoundRun]:
    runs = find_runs(REFERENCE)
    return list({record.config.method.name: (folder, record) for folder, record in runs}.values())


@pytest.mark.parametrize("run", reference_runs(), ids=lambda run: run[1].config.method.name)
def test_the_commands_of_the_committed_page_give_the_committed_runs(run: FoundRun, compose: Compose) -> None:
    record = run[1]
    words = [*retrain_overrides(*run), f"seed={record.config.seed}"]
    assert "head=linear" in words  # the default was another one when they were trained
    config, recorded = parse_run(compose(*words)), record.config_dict()
    resolved: dict[str, dict[str, Any]] = {
        "data": recorded["data"],
        "backbone": {key: recorded["backbone"][key] for key in ("checksum", "settings")},
        "method": config.method.resolve(recorded["backbone"]["checksum"]),
        "trainer": {key: recorded["trainer"][key] for key in ("head_learning_rate", "precision")},
    }
    if "initial_head_bias" in recorded["task"]:
        resolved["task"] = {"initial_head_bias": recorded["task"]["initial_head_bias"]}
    assert identity(effective_config(config, resolved)) == record.identity
