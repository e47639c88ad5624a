"""What the tests of runs do to a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gluelamp.runs.config import RunConfig
from gluelamp.runs.plan import plan_run
from gluelamp.training.trainer import Trainer


class KilledError(Exception):
    """Stands for the signal."""


def never(*_: object, **__: object) -> None:
    raise AssertionError("a step was trained")


def run_folder(config: RunConfig) -> Path:
    return plan_run(config).folder


def poison(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the loss of one step be NaN."""
    forward = Trainer._forward_and_backward

    def poisoned(self: Trainer, examples: np.ndarray) -> torch.Tensor:
        return forward(self, examples) * (float("nan") if self.progress.step == step - 1 else 1)

    monkeypatch.setattr(Trainer, "_forward_and_backward", poisoned)


def kill_at_step(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    step = Trainer._step

    def step_or_die(self: Trainer, examples: np.ndarray) -> torch.Tensor:
        if self.progress.step == steps:
            raise KilledError
        return step(self, examples)

    monkeypatch.setattr(Trainer, "_step", step_or_die)
