"""Trainers on the tiny backbone and some rows of the bundled sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from gluelamp.backbones.dropout import ATTENTION, set_dropout
from gluelamp.backbones.load import BackboneConfig, find_checkpoint, load_model
from gluelamp.methods.base import Method
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.lora import LoRA
from gluelamp.methods.xpeft import XPeft
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.tasks.glue import glue_task
from gluelamp.tasks.sample import generate
from gluelamp.training import trainer as trainer_module
from gluelamp.training.config import TrainerConfig
from gluelamp.training.profile import Profile, Rates
from solo_trainer import SoloTrainer

TRAIN_ROWS, VALIDATION_ROWS, MAX_LENGTH = 40, 24, 64
LORA = LoRA(dropout=0.1)
RATES = {FullFineTuning: 1e-3, XPeft: 1e-1}
BOUND_TO = {"backbone": "b" * 64, "shared": ""}

Splits = tuple[EncodedSplit, dict[str, EncodedSplit]]


class Recorder:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, values: dict[str, float]) -> None:
        self.logged.append((step, dict(values)))


@pytest.fixture(scope="session")
def splits(tiny_backbone: Path) -> Callable[[str], Splits]:
    """Return some encoded rows of a task: to train on, and the validation splits."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)

    @cache
    def encoded(name: str) -> Splits:
        task = glue_task(name)
        frames = generate(task)
        return encode(frames["train"].head(TRAIN_ROWS), task, tokenizer, MAX_LENGTH), {
            split: encode(frames[split].head(VALIDATION_ROWS), task, tokenizer, MAX_LENGTH)
            for split in task.validation_splits
        }

    return encoded


@pytest.fixture
def make_trainer(
    tiny_backbone: Path, tmp_path: Path, splits: Callable[[str], Splits]
) -> Callable[..., SoloTrainer]:
    """Return a trainer of five batches an epoch, for two epochs unless told otherwise."""
    checkpoint = find_checkpoint(BackboneConfig("tiny", {}, path=str(tiny_backbone)))

    def make(
        folder: str = "run",
        *,
        method: Method = LORA,
        task: str = "mrpc",
        seed: int = 0,
        rates: Rates | None = None,
        **knobs: Any,
    ) -> SoloTrainer:
        declaration = glue_task(task)
        train, validation = splits(task)
        torch.manual_seed(seed)
        model = load_model(checkpoint, declaration.num_outputs, ATTENTION)
        if knobs.get("dropout") is not None:
            set_dropout(model, knobs["dropout"])
        adaptation = method.adapt(model)
        (tmp_path / folder).mkdir(exist_ok=True)
        defaults = {"epochs": 2, "batch_size": 8, "bucket_batches": 2, "precision": "fp32"}
        rate = RATES.get(type(method), 1e-2)
        rates = rates or Rates(rate, rate)
        return SoloTrainer(
            adaptation,
            declaration,
            [Profile(train, validation, rates, seed, tmp_path / folder)],
            TrainerConfig(**{**defaults, "device": "cpu", **knobs}),
            seed,
            tmp_path / folder,
            BOUND_TO,
            Recorder(),
        )

    return make


@pytest.fixture(autouse=True)
def _no_benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Spare each test the measurement of the machine's own rate."""
    monkeypatch.setattr(trainer_module, "matmul_rate", lambda *_: 1e9)
