"""Scores of a phase against gradients taken one example at a time in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.phases import ScoringPhase, TrainingPhase
from gluelamp.training.batches import collate
from gluelamp.training.config import TrainerConfig
from gluelamp.training.phase_runner import PhaseRunner, squared_gradients
from gluelamp.training.profile_state import Rates
from gluelamp.training.trainer import Trainer
from solo_trainer import SoloTrainer

EXAMPLES = 6
FULL = FullFineTuning()


def by_hand(trainer: SoloTrainer, labels: str, batch_size: int, seed: int) -> dict[str, torch.Tensor]:
    model = trainer.model.double().eval()
    sample = np.random.default_rng(seed).permutation(len(trainer.profile.train))[:EXAMPLES]
    total = {name: torch.zeros_like(value) for name, value in trainer.adaptation.trainable.items()}
    for start in range(0, EXAMPLES, batch_size):
        inputs, truth = collate(
            trainer.profile.train, sample[start : start + batch_size], torch.device("cpu")
        )
        chances = torch.log_softmax(model(**inputs).logits, -1)
        classes = range(chances.shape[-1]) if labels == "expected" else [None]
        for number in classes:
            weight = chances[:, number].exp().mean().item() if number is not None else 1.0
            picked = truth if number is None else torch.full_like(truth, number)
            loss = -chances.gather(1, picked[:, None]).mean()
            model.zero_grad()
            loss.backward(retain_graph=True)
            for name, value in trainer.adaptation.trainable.items():
                total[name] += weight * value.grad**2
    return total


@pytest.mark.parametrize(("labels", "batch_size"), [("observed", 1), ("expected", 1), ("observed", 3)])
def test_scores_are_summed_squared_gradients(
    make_trainer: Callable[..., SoloTrainer], labels: Literal["observed", "expected"], batch_size: int
) -> None:
    trainer = make_trainer(method=FULL, task="mrpc")
    phase = ScoringPhase(FULL, "scores", EXAMPLES, batch_size, labels)
    ours = squared_gradients(phase, trainer.adaptation, trainer.task, trainer.profile.train, seed=3)
    for name, expected in by_hand(trainer, labels, batch_size, seed=3).items():
        torch.testing.assert_close(ours[name].double(), expected, rtol=2e-3, atol=1e-9)


def test_a_resumed_run_selects_by_its_stored_scores(
    make_trainer: Callable[..., SoloTrainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, phase = make_trainer(method=FULL), ScoringPhase(FULL, "scores", EXAMPLES, 1)

    def learn() -> dict[str, torch.Tensor]:
        rows, config = trainer.profile.train, trainer.config
        run_phase = PhaseRunner(pytest.fail, trainer.task, rows, config, Rates(1e-2, 1e-2), 0, tmp_path)  # type: ignore[arg-type]
        return dict(run_phase(phase, trainer.adaptation))

    first = learn()
    monkeypatch.setattr(
        "gluelamp.training.phase_runner.squared_gradients", pytest.fail
    )  # would round otherwise
    torch.testing.assert_close(learn(), first, rtol=0, atol=0)


def test_validation_rows_do_not_end_a_phase(make_trainer: Callable[..., SoloTrainer], tmp_path: Path) -> None:
    trainer, seen = make_trainer(method=FULL), []

    def new_trainer(_: object, config: TrainerConfig, rates: Rates, *__: object) -> Trainer:
        seen.append((config.epochs, config.patience, rates))
        raise KeyboardInterrupt

    config = replace(trainer.config, patience=1)
    run_phase = PhaseRunner(
        new_trainer, trainer.task, trainer.profile.train, config, Rates(1e-2, 2e-2), 0, tmp_path
    )
    with pytest.raises(KeyboardInterrupt):
        run_phase(TrainingPhase(FULL, "first", 7, 1e-3), trainer.adaptation)
    assert seen == [(7, None, Rates(1e-3, 2e-2))]
