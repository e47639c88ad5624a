"""Trainers on the tiny backbone and a few rows of the bundled sample."""

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
from gluelamp.methods.base import Method, Selection
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.lora import LoRA
from gluelamp.methods.xpeft import XPeft
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.tasks.sample import generate
from gluelamp.training import trainer as trainer_module
from gluelamp.training.config import TrainerConfig
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import Trainer
from solo_trainer import SoloTrainer

TRAIN_ROWS, VALIDATION_ROWS, MAX_LENGTH = 40, 24, 64
LORA = LoRA(dropout=0.1)
RATES = {FullFineTuning: 1e-3, XPeft: 1e-1}
PROVENANCE = {"backbone": "b" * 64, "shared": ""}

Splits = tuple[EncodedSplit, dict[str, EncodedSplit]]


class Recorder:
    """A tracker that stores what it is given."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.steps: list[int] = []

    def step(self, trainer: Trainer) -> None:
        self.steps.append(trainer.states[0].progress.step)

    def log(self, step: int, values: dict[str, float]) -> None:
        self.logged.append((step, dict(values)))


@pytest.fixture(scope="session")
def splits(tiny_backbone: Path) -> Callable[[str], Splits]:
    """Return a function that encodes a few rows of a task: training rows and validation splits."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)

    @cache
    def encoded(name: str) -> Splits:
        task = known_task(name)
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
    """Return a function that makes a trainer: five batches in an epoch, two epochs by default."""
    checkpoint = find_checkpoint(BackboneConfig("tiny", {}, path=str(tiny_backbone)))

    def make(
        folder: str = "run",
        *,
        method: Method = LORA,
        task: str = "mrpc",
        seed: int = 0,
        rates: Rates | None = None,
        selection: Selection | None = None,
        **options: Any,
    ) -> SoloTrainer:
        declaration = known_task(task)
        train, validation = splits(task)
        torch.manual_seed(seed)
        model = load_model(checkpoint, declaration.num_outputs, ATTENTION)
        if options.get("dropout") is not None:
            set_dropout(model, options["dropout"])
        adaptation = method.adapt(model, selection)
        (tmp_path / folder).mkdir(exist_ok=True)
        defaults = {"epochs": 2, "batch_size": 8, "bucket_batches": 2, "precision": "fp32"}
        rate = RATES.get(type(method), 1e-2)
        rates = rates or Rates(rate, rate)
        return SoloTrainer(
            adaptation,
            declaration,
            [Profile(train, validation, rates, seed, tmp_path / folder)],
            TrainerConfig(**{**defaults, "device": "cpu", **options}),
            seed,
            tmp_path / folder,
            PROVENANCE,
            [Recorder()],
        )

    return make


@pytest.fixture(scope="session", autouse=True)
def _no_benchmark() -> Iterator[None]:
    """Skip the measurement of the machine's own rate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "matmul_rate", lambda *_: 1e9)
        yield
