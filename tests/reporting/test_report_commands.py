"""The command of a record trains the same run: checked by composing it as the command line would."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest

from gluelamp.cli.app import CONFIGS
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.record import known_facts
from gluelamp.records import RunRecord
from gluelamp.reporting.site.commands import command

Compose = Callable[..., dict[str, Any]]
TinyRun = Callable[..., RunConfig]

CHANGES = [
    ["method=pafi", "task=cola", "seed=3"],
    ["method=lora", "method.targets=[query,up]", "method.rank=4", "trainer.betas=[0.8,0.99]"],
    ["method=xpeft_soft", "method.name=xpeft_soft_small", "method.num_adapters=4"],
    ["method=pafi", "method.exclude='embeddings|(word, it\\'s)'", "trainer.learning_rate=2e-3"],
    ["method=bitfit", "trainer.learning_rate=0.02", "task=rte", "head.train_pooler=true"],
    ["method=lt_sft", "trainer.learning_rate=0.02", "trainer.head_learning_rate=null"],
    ["method=head_only", "task=mixture", "task.members=[cola,rte]", "trainer.dropout=0.1"],
]


@pytest.fixture
def record_of(tiny_run: TinyRun) -> Callable[..., RunRecord]:
    """The record of a run before it is trained."""
    return lambda *overrides: known_facts(plan_run(tiny_run(*overrides)))


@pytest.mark.parametrize("changes", CHANGES, ids=" ".join)
def test_the_command_gives_the_recorded_identity(
    record_of: Callable[..., RunRecord], compose: Compose, tiny_backbone: Path, changes: list[str]
) -> None:
    record = record_of(*changes)
    program, script, *overrides = shlex.split(command([record], CONFIGS))
    assert (program, script) == ("python", "scripts/train.py")
    again = plan_run(parse_run(compose(*overrides, f"backbone.path={tiny_backbone}")))
    assert again.identity == record.identity


def test_it_names_only_what_differs_from_the_defaults(record_of: Callable[..., RunRecord]) -> None:
    words = command([record_of("method=pafi", "task=cola")], CONFIGS).split()
    assert "trainer.epochs=2" in words
    assert not [word for word in words if word.startswith(("method.density", "trainer.weight_decay"))]


def test_seeds_become_one_sweep(record_of: Callable[..., RunRecord]) -> None:
    records = [record_of("method=pafi", f"seed={seed}") for seed in (0, 2)]
    found = command(records, CONFIGS)
    assert found.startswith("python scripts/train.py -m ")
    assert found.endswith(" seed=0,2")


def test_a_file_is_left_to_the_reader(record_of: Callable[..., RunRecord]) -> None:
    record = record_of("method=xpeft")
    method = {**record.config["method"], "bank": "a checksum"}
    assert "method.bank=PATH" in command(
        [replace(record, config={**record.config, "method": method})], CONFIGS
    )


def test_it_is_made_inside_a_script_of_hydra_too(record_of: Callable[..., RunRecord]) -> None:
    record = record_of("method=ia3")
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        inside = command([record], CONFIGS)
        hydra.compose("train")  # the script's own state is still there
    assert inside == command([record], CONFIGS)
