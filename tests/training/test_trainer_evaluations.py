"""When the trainer evaluates, what it stores, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification

from gluelamp.backbones.anatomy import ARCHITECTURES
from gluelamp.backbones.dropout import set_dropout
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.head_only import HeadOnly
from gluelamp.methods.lora import LoRA
from gluelamp.training.batches import collate
from gluelamp.training.evaluation import predict
from gluelamp.training.profile_state import Rates
from gluelamp.training.trainer import DivergedError
from solo_trainer import SoloTrainer
from tiny_models import batch, logits, tiny

CPU = torch.device("cpu")
FULL = FullFineTuning()
HEAD = HeadOnly()
LORA = LoRA(dropout=0.3)
MakeTrainer = Callable[..., SoloTrainer]


def test_predictions_have_the_order_of_the_rows(make_trainer: MakeTrainer, tiny_backbone: Path) -> None:
    """One row at a time and without padding, transformers' own model returns the same."""
    trainer = make_trainer(task="cola", method=HEAD)
    reference = AutoModelForSequenceClassification.from_pretrained(tiny_backbone, num_labels=2).eval()
    reference.classifier.load_state_dict(trainer.model.classifier.state_dict())
    split = trainer.profile.validation["validation"]
    assert len(set(split.lengths)) > 3
    with torch.no_grad():
        alone = [reference(**collate(split, np.array([row]), CPU)[0]).logits[0] for row in range(len(split))]
    trainer.model.train()
    for batch_size in (1, 5, 128):
        found = predict(trainer.model, split, batch_size, CPU)
        np.testing.assert_allclose(found, torch.stack(alone).numpy(), atol=1e-5)
    assert trainer.model.training


@pytest.mark.parametrize(("eval_steps", "steps"), [(None, [5, 10]), (4, [4, 8, 10]), (99, [10])])
def test_evaluations_come_at_their_steps_and_at_the_end(
    make_trainer: MakeTrainer, eval_steps: int | None, steps: list[int]
) -> None:
    trainer = make_trainer(eval_steps=eval_steps)
    progress = trainer.run().progress
    assert [entry["step"] for entry in progress.history] == steps
    assert [entry["epoch"] for entry in progress.history] == [step / 5 for step in steps]
    assert len(progress.losses) == 10
    for since, entry in zip([0, *steps], progress.history, strict=False):
        assert entry["train_loss"] == pytest.approx(np.mean(progress.losses[since : entry["step"]]))
    (recorder,) = trainer.trackers
    assert recorder.steps == list(range(1, progress.step + 1))
    assert recorder.logged == [(entry["step"], entry) for entry in progress.history]


def test_the_history_holds_scikit_learns_metrics_of_the_outputs(make_trainer: MakeTrainer) -> None:
    outcome = (trainer := make_trainer(task="mrpc", epochs=1)).run()
    labels = trainer.profile.validation["validation"].labels
    predicted = outcome.outputs["last"]["validation"].argmax(axis=1)
    assert outcome.progress.history[-1]["accuracy"] == accuracy_score(labels, predicted)
    assert outcome.progress.history[-1]["f1"] == pytest.approx(f1_score(labels, predicted))


def test_the_second_validation_split_has_its_own_metrics(make_trainer: MakeTrainer) -> None:
    outcome = (trainer := make_trainer(task="mnli", epochs=1)).run()
    for split, metric in (
        ("validation_matched", "accuracy"),
        ("validation_mismatched", "accuracy_mismatched"),
    ):
        predicted = outcome.outputs["best"][split].argmax(axis=1)
        score = accuracy_score(trainer.profile.validation[split].labels, predicted)
        assert outcome.progress.history[0][metric] == score


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Make the evaluations return these scores, one after another."""
    found = iter(scores)
    monkeypatch.setattr(
        "gluelamp.training.trainer.evaluate_splits", lambda *_: {"accuracy": next(found), "f1": 0.0}
    )


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.5, 0.7, 0.6, 0.7], 1),
        ([0.5, 0.5, 0.5, 0.5], 0),
        ([-0.2, -0.1, 0.0, -0.3], 2),
    ],
)
def test_the_best_evaluation_is_the_first_with_the_highest_main_metric(
    make_trainer: MakeTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: list[float],
    best: int,
) -> None:
    scripted(monkeypatch, scores)
    trainer = make_trainer(epochs=4, method=HEAD)
    states, take = [], trainer._evaluate

    def evaluate(*args: Any) -> None:
        states.append({name: value.detach().clone() for name, value in trainer.adaptation.head.items()})
        take(*args)

    monkeypatch.setattr(trainer, "_evaluate", evaluate)
    outcome = trainer.run()
    assert outcome.progress.best == best
    for selection, number in (("best", best), ("last", 3)):
        stored = load_file(tmp_path / "run" / f"{selection}.safetensors")
        for name, value in trainer.adaptation.head.items():
            assert torch.equal(stored[name], states[number][name])
            value.data.copy_(stored[name])
        again = predict(trainer.model, trainer.profile.validation["validation"], 128, CPU)
        np.testing.assert_array_equal(outcome.outputs[selection]["validation"], again)


@pytest.mark.parametrize(("patience", "evaluations"), [(1, 3), (2, 6), (3, 6)])
def test_patience_ends_training_after_evaluations_without_a_better_score(
    make_trainer: MakeTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    evaluations: int,
) -> None:
    scripted(monkeypatch, [0.5, 0.6, 0.6, 0.7, 0.7, 0.6])
    progress = make_trainer(epochs=6, patience=patience, method=HEAD).run().progress
    assert len(progress.history) == evaluations
    assert progress.step == 5 * evaluations
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_patience_starts_again_with_each_better_score(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [0.5, 0.4, 0.6, 0.5, 0.5, 0.9])
    progress = make_trainer(epochs=6, patience=2, method=HEAD).run().progress
    assert (len(progress.history), progress.best) == (5, 2)


@pytest.mark.parametrize(("step", "eval_steps"), [(1, None), (5, None), (3, 4), (10, 4)])
def test_a_loss_that_is_not_finite_stops_training_and_names_its_step(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, step: int, eval_steps: int | None
) -> None:
    trainer = make_trainer(eval_steps=eval_steps)
    backward = trainer.passes.backward

    def poisoned(*args: Any) -> list[torch.Tensor]:
        factor = math.nan if trainer.state.progress.step == step - 1 else 1
        return [loss * factor for loss in backward(*args)]

    monkeypatch.setattr(trainer.passes, "backward", poisoned)
    with pytest.raises(DivergedError, match=rf"The loss of step {step} is nan\. Lower trainer\.learning"):
        trainer.run()


def test_outputs_that_are_not_finite_stop_training(make_trainer: MakeTrainer) -> None:
    """The step before an evaluation can break the model while its own loss is still finite."""
    trainer = make_trainer(method=HEAD, eval_steps=1, warmup_ratio=0.0, rates=Rates(1e38, 1e38))
    with pytest.raises(DivergedError, match=r"after step 1 .*Lower trainer\.learning_rate"):
        trainer.run()


def test_dropout_of_the_backbone_can_be_set_and_is_off_in_evaluation(make_trainer: MakeTrainer) -> None:
    own, none, much = (
        make_trainer(name, dropout=p, method=HEAD).run() for name, p in (("a", None), ("b", 0.0), ("c", 0.9))
    )
    assert len({run.progress.losses[0] for run in (own, none, much)}) == 3
    default = make_trainer("d", dropout=0.1, method=HEAD).run()  # the tiny backbone's configuration
    assert default.progress.losses == own.progress.losses


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_dropout_that_is_set_is_that_of_attention_too(architecture: str) -> None:
    model = tiny(architecture)
    set_dropout(model, 0.0)
    with torch.no_grad():
        found = model.train()(**batch()).logits
    assert torch.equal(found, logits(model))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_stored_is_fp32_and_gives_the_outputs_again(
    make_trainer: MakeTrainer, tmp_path: Path, precision: str
) -> None:
    trained = make_trainer(precision=precision, method=FULL, dropout=0.0)
    outcome = trained.run()
    state = load_file(tmp_path / "run" / "best.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float32}
    rounded = {name: value.bfloat16().float() for name, value in state.items()}
    assert any(not torch.equal(rounded[name], value) for name, value in state.items())

    fresh = make_trainer("fresh", seed=5, precision="fp32", method=FULL)
    fresh.adaptation.load_task_state(state)
    fresh.weights.__init__(fresh.model, fresh.weights.live, trained.dtype)
    again = predict(fresh.model, fresh.profile.validation["validation"], 128, CPU)
    np.testing.assert_array_equal(outcome.outputs["best"]["validation"], again)
