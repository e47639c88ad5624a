"""Ways to disturb a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.training.passes import SinglePasses
from gluelamp.training.profile_state import ProfileState
from gluelamp.training.trainer import Trainer


class KilledError(Exception):
    """Raised instead of the signal that ends a process."""


def never(*_: object, **__: object) -> None:
    raise AssertionError("a step was trained")


def run_folder(config: RunConfig) -> Path:
    return plan_run(config).folder


def poison(monkeypatch: pytest.MonkeyPatch, step: int, folder: str = "") -> None:
    """Make the loss of one step NaN, for a single profile whose folder contains a text."""
    backward = SinglePasses.backward

    def poisoned(
        self: SinglePasses, states: Sequence[ProfileState], batches: Sequence[np.ndarray]
    ) -> list[torch.Tensor]:
        meant = states[0].progress.step == step - 1 and folder in str(states[0].profile.folder)
        factor = float("nan") if meant else 1
        return [loss * factor for loss in backward(self, states, batches)]

    monkeypatch.setattr(SinglePasses, "backward", poisoned)


def kill_at_step(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    step = Trainer._step

    def step_or_raise(self: Trainer, active: list[ProfileState]) -> None:
        if active[0].progress.step == steps:
            raise KilledError
        step(self, active)

    monkeypatch.setattr(Trainer, "_step", step_or_raise)
