"""Every method learns: it fits 64 real examples, and on the sample it is no worse than its head alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from math import atanh, sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gluelamp.backbones.dropout import ATTENTION, set_dropout
from gluelamp.backbones.load import BackboneConfig, find_checkpoint, load_model, load_tokenizer
from gluelamp.experiments.config import parse_method
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phases import run_phases
from gluelamp.package_data import CONFIGS
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import encode
from gluelamp.tasks.sample import generate
from gluelamp.tasks.task import Task
from gluelamp.training.config import TrainerConfig
from gluelamp.training.phase_runner import PhaseRunner
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import Trainer

pytestmark = [pytest.mark.real_data, pytest.mark.embedded, pytest.mark.learning]

METHODS = sorted({path.stem for path in (CONFIGS / "method").glob("*.yaml")} - {"head_only"})
LENGTH = 32
# Few examples need no long first phase, and two blocks not all word embeddings.
SHORT = {
    "diff_pruning": ("method.first_epochs=1", "method.exclude=embeddings", "method.density=0.02"),
    "fish": ("method.examples=64", "method.exclude=embeddings"),
    "lt_sft": ("method.exclude=embeddings",),
    "spt_adapter": ("method.examples=64",),
    "spt_lora": ("method.examples=64",),
}
REGRESSION = {"adamix": ("method.consistency=mse",), "dyt": ("method.distillation=mse",)}
# Masks over a random bank are few values on two blocks: they fit from all six, and a larger bank.
BLOCKS, BANK = 2, {"xpeft": ("method.num_adapters=400",), "xpeft_soft": ("method.num_adapters=400",)}

Compose = Callable[..., dict[str, Any]]
Train = Callable[..., Trainer]


class FittedError(Exception):
    """There is nothing left to learn."""


class UntilFitted:
    """A tracker that ends the training once 95 % of the examples are right."""

    def step(self, trainer: Trainer) -> None:
        pass

    def log(self, step: int, values: dict[str, float]) -> None:
        if values["accuracy"] >= 0.95:
            raise FittedError


@pytest.fixture(scope="module")
def pretrained(compose: Compose) -> tuple[Callable[..., PreTrainedModel], PreTrainedTokenizerBase]:
    """Return what makes MiniLM's first blocks under a new head, and its tokenizer."""
    checkpoint = find_checkpoint(BackboneConfig(**compose("backbone=minilm")["backbone"]))

    @cache
    def load(task: str, blocks: int) -> PreTrainedModel:
        torch.manual_seed(0)
        model = load_model(checkpoint, known_task(task).num_outputs, ATTENTION)
        model.bert.encoder.layer = model.bert.encoder.layer[:blocks]
        model.config.num_hidden_layers = blocks
        set_dropout(model, 0.0)
        return model

    return lambda task, blocks: deepcopy(load(task.name, blocks)), load_tokenizer(checkpoint)


@pytest.fixture
def trainer_of(pretrained: tuple[Any, Any], compose: Compose, tmp_path: Path) -> Train:
    """Return the trainer of a method on some rows, evaluated on others, after the method's phases."""
    build, tokenizer = pretrained

    def make(
        name: str,
        options: tuple[str, ...],
        task: Task,
        rows: pd.DataFrame,
        others: pd.DataFrame,
        *,
        faster: float = 1.0,
        blocks: int = BLOCKS,
        trackers: Sequence[UntilFitted] = (),
        **knobs: Any,
    ) -> Trainer:
        raw = compose(f"method={name}", *options)
        method = parse_method(raw["method"])
        rate, head_rate = (raw["trainer"][key] for key in ("learning_rate", "head_learning_rate"))
        rates = Rates(rate, head_rate or rate)
        train, validation = (encode(part, task, tokenizer, LENGTH) for part in (rows, others))
        splits = {"validation": validation}
        config = TrainerConfig(max_length=LENGTH, batch_size=16, device="cpu", **knobs)

        def new(adaptation: Adaptation, config: TrainerConfig, rates: Rates, place: Path) -> Trainer:
            profile = Profile(train, splits, rates, 0, place)
            return Trainer(adaptation, task, [profile], config, 0, place, {}, trackers)

        model = build(task, blocks)
        torch.manual_seed(0)
        folder = tmp_path / f"{name}-{faster}"  # a trainer takes up the checkpoint that it finds
        folder.mkdir()
        runner = PhaseRunner(new, task, train, config, rates, 0, folder)
        adaptation = method.adapt(model, selection=run_phases(method, model, runner))
        return new(adaptation, config, Rates(faster * rates.method, faster * rates.head), folder)

    return make


@pytest.mark.parametrize("name", METHODS)
def test_it_fits_64_real_examples(trainer_of: Train, data_folder: Path, name: str) -> None:
    task = known_task("sst2")
    local = DataConfig(source="local", root=str(data_folder / "glue"))
    rows = load_task_data(task, local).splits["train"].sample(64, random_state=0)
    options = SHORT.get(name, ()) + BANK.get(name, ())
    knobs = {"epochs": 50, "eval_steps": 20, "schedule": "constant_with_warmup"}

    def fits(faster: float) -> bool:
        blocks = 6 if name in BANK else BLOCKS
        trainer = trainer_of(
            *(name, options, task, rows, rows),
            faster=faster,
            blocks=blocks,
            trackers=[UntilFitted()],
            **knobs,
        )
        try:
            trainer.run()
        except FittedError:
            return True
        return False

    # The rates of the configs are for thousands of examples. Most methods need larger ones for a few hundred
    # steps. PHA needs a smaller one for the pooler, which the two-layer head trains.
    assert any(fits(faster) for faster in (3.0, 1.0, 0.3))


@pytest.fixture(scope="module")
def head_alone() -> dict[str, float]:
    return {}


@pytest.mark.parametrize("name", METHODS)
def test_on_the_sample_it_is_no_worse_than_its_head_alone(
    trainer_of: Train, head_alone: dict[str, float], name: str
) -> None:
    task = known_task("stsb")
    sample = generate(task)
    rows, others = sample["train"].head(96), sample["validation"].head(128)

    def pearson(name: str) -> float:
        options = SHORT.get(name, ()) + REGRESSION.get(name, ())
        return (
            trainer_of(name, options, task, rows, others, epochs=3).run()[0].progress.history[-1]["pearson"]
        )

    if not head_alone:
        head_alone["pearson"] = pearson("head_only")
    noise = 1.96 * sqrt(2 / (len(others) - 3))  # of a difference of two correlations, by Fisher's z
    assert atanh(pearson(name)) > atanh(head_alone["pearson"]) - noise
