"""What the loop does with its knobs, against closed formulas and other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error
from transformers import AutoModelForSequenceClassification

from gluelamp.methods.weights.full import FullFineTuning
from gluelamp.methods.weights.head_only import HeadOnly
from gluelamp.methods.weights.lora import LoRA
from gluelamp.methods.weights.pafi import PaFi
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.batches import collate, training_order
from gluelamp.training.evaluation import predict
from gluelamp.training.trainer import DivergedError, Rates, Trainer

CPU = torch.device("cpu")
FULL = FullFineTuning(name="full", learning_rate=1e-3)
HEAD = HeadOnly(name="head_only", learning_rate=1e-2)
LORA = LoRA(name="lora", learning_rate=1e-2, dropout=0.3)
FROZEN = Rates(1e-12, 1e-12)

MakeTrainer = Callable[..., Trainer]


def rates_by_step(trainer: Trainer) -> list[list[float]]:
    """The learning rate of each parameter group at each step, without training."""
    rates = []
    for _ in range(trainer.config.epochs * trainer.steps_per_epoch):
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        trainer.optimizer.step()
        trainer.schedule.step()
    return rates


SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda share: 1 - share,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
    "constant_with_warmup": lambda share: 1.0,
}


@pytest.mark.parametrize("schedule", SHAPES)
def test_the_rate_rises_linearly_and_falls_by_its_schedule(make_trainer: MakeTrainer, schedule: str) -> None:
    trainer = make_trainer(schedule=schedule, epochs=4, warmup_ratio=0.25, rates=Rates(2e-3, 5e-2))
    steps, warmup = 20, 5
    factors = [step / warmup for step in range(warmup)]
    factors += [SHAPES[schedule]((step - warmup) / (steps - warmup)) for step in range(warmup, steps)]
    expected = [[2e-3 * factor, 5e-2 * factor] for factor in factors]
    np.testing.assert_allclose(rates_by_step(trainer), expected, rtol=1e-12)


def test_without_warmup_the_first_step_has_the_peak_rate(make_trainer: MakeTrainer) -> None:
    assert rates_by_step(make_trainer(warmup_ratio=0.0))[0] == [1e-2, 1e-2]


def test_a_started_step_of_warmup_counts_as_a_whole_one(make_trainer: MakeTrainer) -> None:
    rates = [method for method, _ in rates_by_step(make_trainer(warmup_ratio=0.11))]  # of 10 steps: 1.1
    assert rates[:3] == [0.0, 0.5e-2, 1e-2]


def test_a_method_without_values_of_its_own_trains_the_head(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(method=HEAD, rates=Rates(1.0, 3e-2), warmup_ratio=0.0)
    assert rates_by_step(trainer)[0] == [3e-2]


@pytest.mark.parametrize("method", [FULL, LORA], ids=["full", "lora"])
def test_weight_decay_is_decoupled_and_reaches_all_trained_values(
    make_trainer: MakeTrainer, method: FullFineTuning | LoRA
) -> None:
    """Loshchilov and Hutter, Algorithm 2: beside Adam's step, each value shrinks by rate x decay."""
    knobs = {"method": method, "dropout": 0.0, "warmup_ratio": 0.0, "rates": Rates(1e-2, 3e-2)}
    plain, decayed = (make_trainer(name, weight_decay=0.1 * on, **knobs) for on, name in enumerate("ab"))
    start = [master.detach().clone() for master in plain.weights.masters]
    for trainer in (plain, decayed):
        trainer._step(np.arange(8))
    count = len(plain.adaptation.trainable)
    rates = [1e-2] * count + [3e-2] * (len(start) - count)
    for before, one, other, rate in zip(
        start, plain.weights.masters, decayed.weights.masters, rates, strict=True
    ):
        torch.testing.assert_close(other - one, -rate * 0.1 * before, atol=1e-7, rtol=0)


def test_gradients_are_clipped_over_all_trained_values_together(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: dict[float | None, float] = {}
    for limit in (None, 0.01):
        trainer = make_trainer(method=FULL, dropout=0.0, max_grad_norm=limit)

        def keep(trainer: Trainer = trainer, limit: float | None = limit) -> None:
            gradients = [m.grad.flatten() for m in trainer.weights.masters if m.grad is not None]
            norms[limit] = float(torch.cat(gradients).norm())

        monkeypatch.setattr(trainer.optimizer, "step", keep)
        trainer._step(np.arange(8))
    assert norms[None] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-4)


def first_batch(trainer: Trainer) -> np.ndarray:
    config = trainer.config
    lengths = trainer.train_split.lengths
    return training_order(lengths, config.batch_size, config.bucket_batches, trainer.seed, 0)[0]


def test_a_regression_is_trained_on_the_mean_squared_error(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(task="stsb", dropout=0.0, method=FULL)
    batch = first_batch(trainer)
    outputs = predict(trainer.model, trainer.train_split, 128, CPU)[batch, 0]
    expected = mean_squared_error(trainer.train_split.labels[batch], outputs)
    assert trainer.run().progress.losses[0] == pytest.approx(expected, rel=1e-5)


def test_a_classification_is_trained_on_the_cross_entropy(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(task="mnli", dropout=0.0, method=FULL)
    batch = first_batch(trainer)
    logits = predict(trainer.model, trainer.train_split, 128, CPU)[batch].astype(np.float64)
    chosen = logits[np.arange(len(batch)), trainer.train_split.labels[batch]]
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen)
    assert trainer.run().progress.losses[0] == pytest.approx(expected, rel=1e-5)


def test_predictions_stand_in_the_order_of_the_rows(
    make_trainer: MakeTrainer, tiny_backbone: Path
) -> None:
    """One row at a time and without padding, transformers' own model returns the same."""
    trainer = make_trainer(task="cola", method=HEAD)
    reference = AutoModelForSequenceClassification.from_pretrained(tiny_backbone, num_labels=2).eval()
    reference.classifier.load_state_dict(trainer.model.classifier.state_dict())
    split = trainer.validation["validation"]
    assert len(set(split.lengths)) > 3
    with torch.no_grad():
        alone = [reference(**collate(split, np.array([row]), CPU)[0]).logits[0] for row in range(len(split))]
    trainer.model.train()
    for batch_size in (1, 5, 128):
        found = predict(trainer.model, split, batch_size, CPU)
        np.testing.assert_allclose(found, torch.stack(alone).numpy(), atol=1e-5)
    assert trainer.model.training


@pytest.mark.parametrize(
    ("eval_steps", "steps"), [(None, [5, 10]), (4, [4, 8, 10]), (5, [5, 10]), (99, [10])]
)
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
    assert trainer.tracker.logged == [(entry["step"], entry) for entry in progress.history]


def test_the_history_holds_scikit_learns_metrics_of_the_outputs(make_trainer: MakeTrainer) -> None:
    outcome = (trainer := make_trainer(task="mrpc", epochs=1)).run()
    labels = trainer.validation["validation"].labels
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
        score = accuracy_score(trainer.validation[split].labels, predicted)
        assert outcome.progress.history[0][metric] == score


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let the evaluations find these scores, one after another."""
    found = iter(scores)
    monkeypatch.setattr(
        "gluelamp.training.trainer.evaluate_splits", lambda *_: {"accuracy": next(found), "f1": 0.0}
    )


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.5, 0.7, 0.6, 0.7], 1),
        ([0.5, 0.5, 0.5, 0.5], 0),
        ([0.1, 0.2, 0.3, 0.4], 3),
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

    def evaluate() -> None:
        states.append(trainer.model.classifier.weight.detach().clone())
        take()

    monkeypatch.setattr(trainer, "_evaluate", evaluate)
    outcome = trainer.run()
    assert outcome.progress.best == best
    for selection, number in (("best", best), ("last", 3)):
        stored = load_file(tmp_path / "run" / f"{selection}.safetensors")["classifier.weight"]
        assert torch.equal(stored, states[number])
        trainer.model.classifier.weight.data.copy_(states[number])
        trainer.model.classifier.bias.data.copy_(
            load_file(tmp_path / "run" / f"{selection}.safetensors")["classifier.bias"]
        )
        again = predict(trainer.model, trainer.validation["validation"], 128, CPU)
        np.testing.assert_array_equal(outcome.outputs[selection]["validation"], again)


@pytest.mark.parametrize(
    ("patience", "evaluations"), [(None, 6), (1, 3), (2, 6), (3, 6)]
)
def test_patience_ends_training_after_evaluations_without_a_better_score(
    make_trainer: MakeTrainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    patience: int | None,
    evaluations: int,
) -> None:
    scripted(monkeypatch, [0.5, 0.6, 0.6, 0.7, 0.7, 0.6])
    progress = make_trainer(epochs=6, patience=patience, method=HEAD).run().progress
    assert len(progress.history) == evaluations
    assert progress.step == 5 * evaluations
    assert (tmp_path / "run" / "last.safetensors").is_file()


def test_patience_starts_anew_with_each_better_score(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [0.5, 0.4, 0.6, 0.5, 0.5, 0.9])
    progress = make_trainer(epochs=6, patience=2, method=HEAD).run().progress
    assert (len(progress.history), progress.best) == (5, 2)


@pytest.mark.parametrize("step", [1, 3, 5, 10])
@pytest.mark.parametrize("eval_steps", [None, 4])
def test_a_loss_that_is_not_finite_stops_training_and_names_its_step(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, step: int, eval_steps: int | None
) -> None:
    trainer = make_trainer(eval_steps=eval_steps)
    forward = trainer._forward_and_backward

    def poisoned(examples: np.ndarray) -> torch.Tensor:
        return forward(examples) * (math.nan if trainer.progress.step == step - 1 else 1)

    monkeypatch.setattr(trainer, "_forward_and_backward", poisoned)
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
    again = predict(fresh.model, fresh.validation["validation"], 128, CPU)
    np.testing.assert_array_equal(outcome.outputs["best"]["validation"], again)


def test_trained_values_at_fixed_positions_stand_in_the_weights(
    make_trainer: MakeTrainer, tiny_backbone: Path
) -> None:
    """A fused optimiser writes without a trace; the sparse weights must follow it all the same."""
    trainer = make_trainer(method=PaFi(name="pafi", learning_rate=1e-2, density=0.2))
    trainer.run()
    pretrained = load_file(tiny_backbone / "model.safetensors")
    state, shared = trainer.adaptation.method_state(), trainer.adaptation.shared_state()
    for name, positions in shared.items():
        weight = name.removesuffix(".positions")
        module, _, tensor = weight.rpartition(".")
        expected = pretrained[weight.removeprefix("bert.")].flatten()
        expected[positions.long()] += state[f"{weight}.delta"]
        found = getattr(trainer.model.get_submodule(module), tensor).flatten()
        assert torch.equal(found, expected), weight
    assert len(shared) > 10
    assert all(state[f"{name.removesuffix('.positions')}.delta"].any() for name in shared)


def test_tokens_and_operations_are_counted_without_padding(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=3, method=HEAD)
    split: EncodedSplit = trainer.train_split
    outcome = trainer.run()
    assert outcome.progress.tokens == 3 * split.lengths.sum()
    speed = outcome.speed
    assert speed["tokens_per_second"] == pytest.approx(outcome.progress.tokens / speed["train_seconds"])
    assert speed["samples_per_second"] == pytest.approx(3 * len(split) / speed["train_seconds"])
    assert speed["utilisation"] == speed["model_flops_per_second"] / speed["matmul_flops_per_second"]


def test_operations_of_a_token_are_those_of_its_matrix_products(make_trainer: MakeTrainer) -> None:
    """Forward: two for each weight; full fine-tuning's backward: twice as many again."""
    trainer = make_trainer(method=FULL, eval_steps=99, epochs=1)
    found = trainer.run().progress.flops_per_token
    width, inner, layers = 32, 64, 2
    dense = 3 * 2 * layers * (4 * width * width + 2 * width * inner)
    assert dense < found < 2 * dense  # attention's products and padding come on top


