"""The recorded overrides of a command line compose to the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.identity import complete_config
from gluelamp.experiments.overrides import as_word, quoted, run_overrides
from gluelamp.experiments.plan import plan_run
from gluelamp.package_data import CONFIGS

Compose = Callable[..., dict[str, Any]]
TinyRun = Callable[..., RunConfig]

CHANGES = [
    ["method=pafi", "task=cola", "seed=3"],
    ["method=sparse_random", "seed=3"],
    ["method=sparse_random", "seed=3", "method.mask_seed=0"],
    ["method=fish", "method.pooler=false"],
    ["method=lt_sft", "method.rewind_head=false"],
    ["method=lora", "method.targets=[query,up]", "method.rank=4", "trainer.betas=[0.8,0.99]"],
    ["method=xpeft_soft", "method.name=xpeft_soft_small", "method.num_adapters=4"],
    ["method=pafi", "method.exclude='embeddings|(word, it\\'s)'", "trainer.learning_rate=2e-3"],
    ["method=lt_sft", "trainer.head_learning_rate=null", "task=rte", "head=linear"],
    ["method=peft", "method.type=LORA", "method.options={use_dora:true,r:4}"],
    ["method=head_only", "task=mixture", "task.members=[cola,rte]", "trainer.dropout=0.1"],
]


def words_of(config: RunConfig) -> list[str]:
    plan = plan_run(config)
    return run_overrides(complete_config(plan.effective), "sample", None, None)


@pytest.mark.parametrize("changes", CHANGES, ids=" ".join)
def test_the_overrides_give_the_same_identity(
    tiny_run: TinyRun, compose: Compose, tiny_backbone: Path, changes: list[str]
) -> None:
    config = tiny_run(*changes)
    words = [*words_of(config), f"seed={config.seed}", f"backbone.path={tiny_backbone}"]
    assert plan_run(parse_run(compose(*words))).identity == plan_run(config).identity


def test_only_differences_from_the_config_files_are_named(tiny_run: TinyRun) -> None:
    words = words_of(tiny_run("method=pafi", "task=cola"))
    assert words[:4] == ["backbone=tiny", "method=pafi", "task=cola", "data=sample"]
    assert "trainer.epochs=2" in words
    assert not [word for word in words if word.startswith(("method.density", "trainer.weight_decay", "seed"))]


def test_the_path_of_a_file_is_left_to_the_user(tiny_run: TinyRun) -> None:
    effective = plan_run(tiny_run("method=xpeft")).effective
    effective["method"]["bank"] = "a checksum"
    assert "method.bank=PATH" in run_overrides(effective, "sample", None, None)


def test_the_state_of_hydra_stays_as_it_was(tiny_run: TinyRun) -> None:
    config = tiny_run("method=ia3")
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        inside = words_of(config)
        hydra.compose("train")
    assert inside == words_of(config)


@pytest.mark.parametrize(
    "text", ["it's", 'a "b"', "ends in \\", "\\'", '\\"', "a\\b", "a=b, [c]", "~/x y", "${seed}"]
)
def test_hydra_reads_a_quoted_text_as_it_is(text: str) -> None:
    for word in (as_word(text), quoted(text)):
        (override,) = OverridesParser.create().parse_overrides([f"key={word}"])
        assert override.value() == text
