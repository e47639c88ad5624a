"""A run's identity depends on everything that can change its result, and on nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.identity import ADDED_LATER, identity
from gluelamp.experiments.plan import plan_run
from gluelamp.hardware import multiplies_bf16
from gluelamp.methods.lora import LoRA
from gluelamp.methods.pafi import PaFi

TRAIN = [(number, f"The painter sold film {number}.", number % 2) for number in range(20)]
VALIDATION = [(0, "The town was in the park.", 1), (1, "The was park.", 0)]

# By section, other values than the default; None where another value needs more than a value.
CHANGES_RESULT: Mapping[str, Mapping[str, Any]] = {
    "trainer": {
        "epochs": 5,
        "batch_size": 16,
        "learning_rate": 5e-4,
        "head_learning_rate": 1e-2,
        "weight_decay": 0.1,
        "betas": (0.9, 0.99),
        "eps": 1e-6,
        "schedule": "cosine",
        "warmup_ratio": 0.1,
        "max_grad_norm": None,
        "max_length": 32,
        "bucket_batches": 1,
        "dropout": 0.0,
        "precision": "bf16",
        "eval_steps": 7,
        "patience": 2,
        "pass_tokens": 512,
    },
    "method": {
        "rank": 4,
        "alpha": 8.0,
        "dropout": 0.1,
        "targets": ("query",),
    },
    "task": {"max_train_examples": 10, "validation_from_train": 5},
    "head": {"type": "linear"},
    "backbone": {"name": "small"},
}
WITHOUT_EFFECT: Mapping[str, Mapping[str, Any]] = {
    "trainer": {"device": "auto", "graphs": True, "eval_batch_size": 3, "checkpoint_steps": 7},
    "tracker": {"name": "wandb", "project": "mine", "mode": "offline"},
    "results": {"root": "elsewhere"},
    "data": {"source": "auto", "hub_timeout_s": 1.0, "revision": "abc"},
    "backbone": {"hub_id": "a/b", "revision": "abc", "extra": "a", "shape": {"model_type": "bert"}},
}
# test_run_users and test_run_mixture
ELSEWHERE = {
    "task": {"name", "members", "profiles", "min_user_rows", "max_users", "user_group"},
    "trainer": {"profiles_per_pass"},
    "data": {"root"},
    "backbone": {"path", "wheel", "sha256"},
}


def cases(table: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    return [
        pytest.param(section, {field: value}, id=f"{section}.{field}")
        for section, values in table.items()
        for field, value in values.items()
    ]


@pytest.fixture
def base(tiny_run: Callable[..., RunConfig], local_cola: Callable[..., Path]) -> RunConfig:
    root = local_cola(train=TRAIN, validation=VALIDATION)
    local = ("data=local", f"data.root={root}", "task.max_train_examples=null")
    return tiny_run(*local, "method=lora", "trainer.learning_rate=1e-3")


def name_of(config: RunConfig) -> str:
    return plan_run(config).identity


def training_rows(config: RunConfig) -> pd.DataFrame:
    plan = plan_run(config)
    return plan.training_rows(plan.data[0])


def changed(config: RunConfig, section: str, values: Mapping[str, Any]) -> RunConfig:
    return replace(config, **{section: replace(getattr(config, section), **values)})


@pytest.mark.parametrize(("section", "values"), cases(CHANGES_RESULT))
def test_an_option_that_can_change_the_result_changes_the_identity(
    base: RunConfig, section: str, values: dict[str, Any]
) -> None:
    assert name_of(changed(base, section, values)) != name_of(base)


@pytest.mark.parametrize(("section", "values"), cases(WITHOUT_EFFECT))
def test_an_option_without_effect_on_the_result_keeps_the_identity(
    base: RunConfig, section: str, values: dict[str, Any]
) -> None:
    assert name_of(changed(base, section, values)) == name_of(base)


def test_every_field_of_a_configuration_is_on_one_of_the_two_lists(base: RunConfig) -> None:
    for section in fields(base):
        if section.name in ("seed", "on_existing", "method_name"):
            continue
        listed = {
            *CHANGES_RESULT.get(section.name, {}),
            *WITHOUT_EFFECT.get(section.name, {}),
            *ELSEWHERE.get(section.name, ()),
        }
        assert {field.name for field in fields(getattr(base, section.name))} == listed, section.name


def test_the_seed_changes_the_identity(base: RunConfig) -> None:
    names = {name_of(replace(base, seed=seed)) for seed in range(4)}
    assert len(names) == 4


def test_the_policy_for_existing_runs_keeps_the_identity(base: RunConfig) -> None:
    assert name_of(replace(base, on_existing="retrain")) == name_of(base)


def test_another_method_with_the_same_fields_has_another_identity(base: RunConfig) -> None:
    class Other(LoRA):
        pass

    other = Other(**vars(base.method))
    assert name_of(replace(base, method=other)) != name_of(base)
    assert name_of(replace(base, method=PaFi())) != name_of(base)


def test_equal_learning_rates_from_different_keys_give_one_identity(base: RunConfig) -> None:
    alone = changed(base, "trainer", {"learning_rate": 5e-4, "head_learning_rate": None})
    both = changed(base, "trainer", {"learning_rate": 5e-4, "head_learning_rate": 5e-4})
    assert name_of(alone) == name_of(both)


def test_the_resolved_precision_gives_the_identity(base: RunConfig) -> None:
    native = multiplies_bf16(torch.device("cpu"))
    written = changed(base, "trainer", {"precision": "bf16" if native else "fp32"})
    assert name_of(changed(base, "trainer", {"precision": "auto"})) == name_of(written)


@pytest.mark.parametrize(
    "rows",
    [
        [*TRAIN[:-1], (19, "The painter sold film 19!", 1)],
        [*TRAIN[:-1], (19, "The painter sold film 19.", 0)],
        [*TRAIN[:-1], (20, "The painter sold film 19.", 1)],
        TRAIN[:-1],
        TRAIN[::-1],
    ],
    ids=["a text", "a label", "a number", "one row less", "the order"],
)
def test_other_rows_change_the_identity(
    base: RunConfig, local_cola: Callable[..., Path], rows: list[tuple[int, str, int]]
) -> None:
    root = local_cola("other", train=rows, validation=VALIDATION)
    assert name_of(changed(base, "data", {"root": str(root)})) != name_of(base)


def test_equal_rows_in_another_folder_keep_the_identity(
    base: RunConfig, local_cola: Callable[..., Path]
) -> None:
    root = local_cola("other", train=TRAIN, validation=VALIDATION)
    assert name_of(changed(base, "data", {"root": str(root)})) == name_of(base)


def test_equal_weights_in_another_folder_keep_the_identity(
    base: RunConfig, tiny_backbone: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "copy")
    assert name_of(changed(base, "backbone", {"path": str(tmp_path / "copy")})) == name_of(base)


def test_other_weights_change_the_identity(base: RunConfig, tiny_backbone: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "other")
    file = tmp_path / "other" / "model.safetensors"
    weights = load_file(file)
    weights["pooler.dense.bias"][0] += 1
    save_file(weights, file, metadata={"format": "pt"})
    assert name_of(changed(base, "backbone", {"path": str(tmp_path / "other")})) != name_of(base)


@pytest.mark.parametrize(
    ("file", "old", "new"), [("config.json", "gelu", "relu"), ("tokenizer.json", "town", "twon")]
)
def test_another_use_of_equal_weights_changes_the_identity(
    base: RunConfig, tiny_backbone: Path, tmp_path: Path, file: str, old: str, new: str
) -> None:
    folder = shutil.copytree(tiny_backbone, tmp_path / "copy")
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), "utf-8")
    other = replace(base, backbone=replace(base.backbone, path=str(folder)))
    assert plan_run(other).checkpoint.checksum == plan_run(base).checkpoint.checksum
    assert plan_run(other).identity != plan_run(base).identity


def test_another_task_has_another_identity(tiny_run: Callable[..., RunConfig]) -> None:
    assert name_of(tiny_run("task=mrpc")) != name_of(tiny_run("task=rte"))


def test_an_identity_is_the_same_on_every_machine() -> None:
    """The value is pinned: it names the folders of results of earlier releases."""
    assert identity({"seed": 0, "trainer": {"rate": 1e-3, "betas": (0.9, 0.999)}}) == "ffb97e1beb986269"
    assert identity({"trainer": {"betas": [0.9, 0.999], "rate": 0.001}, "seed": 0}) == "ffb97e1beb986269"


def test_the_identity_names_the_folder_of_the_run(base: RunConfig, tmp_path: Path) -> None:
    plan = plan_run(base)
    assert plan.folder == tmp_path / "results" / "runs" / "tiny" / "lora" / "cola" / plan.identity
    assert len(plan.identity) == 16
    assert set(plan.identity) <= set("0123456789abcdef")


def test_the_rows_of_a_subset_are_the_same_in_every_run(base: RunConfig) -> None:
    some = changed(base, "task", {"max_train_examples": 7})
    chosen = [training_rows(replace(some, seed=seed)) for seed in range(3)]
    chosen.append(training_rows(changed(some, "method", {"rank": 2})))
    assert len(chosen[0]) == 7
    assert all(rows.equals(chosen[0]) for rows in chosen)
    assert chosen[0]["idx"].is_monotonic_increasing
    assert chosen[0]["idx"].tolist() != list(range(7))  # at random, not the first ones


@pytest.mark.parametrize("limit", [None, 20, 21])
def test_a_limit_beyond_the_rows_takes_all_of_them(base: RunConfig, limit: int | None) -> None:
    rows = training_rows(changed(base, "task", {"max_train_examples": limit}))
    assert rows["idx"].tolist() == list(range(20))


@pytest.mark.parametrize(("method", "option"), [("sparse_random", "mask_seed"), ("xpeft_soft", "bank_seed")])
def test_a_seed_of_the_method_follows_that_of_the_run(
    tiny_run: Callable[..., RunConfig], method: str, option: str
) -> None:
    tied = [plan_run(tiny_run(f"method={method}", f"seed={seed}")) for seed in (0, 3)]
    assert [getattr(plan.config.method, option) for plan in tied] == [0, 3]
    assert [plan.effective.pop("seed") for plan in tied] == [0, 3]
    assert tied[0].effective == tied[1].effective  # the seeds are runs of one variant
    written = plan_run(tiny_run(f"method={method}", "seed=3", f"method.{option}=0"))
    assert written.effective["method"][option] == 0
    equal = plan_run(tiny_run(f"method={method}", "seed=3", f"method.{option}=3"))
    assert equal.identity == plan_run(tiny_run(f"method={method}", "seed=3")).identity


def test_an_option_that_was_added_later_keeps_old_identities(
    base: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    effective = plan_run(base).effective
    later = {"trainer": {"warmup_ratio": 0.06}, "LoRA": {"dropout": 0.0}, "PaFi": {"rank": 8}}
    monkeypatch.setattr("gluelamp.experiments.identity.ADDED_LATER", {**ADDED_LATER, **later})
    short = plan_run(base).effective
    del effective["trainer"]["warmup_ratio"], effective["method"]["dropout"]
    assert short == effective
    assert "dropout" in plan_run(changed(base, "method", {"dropout": 0.1})).effective["method"]
