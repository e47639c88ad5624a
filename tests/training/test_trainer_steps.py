"""The effect of one step, compared with closed formulas and other libraries."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import mean_squared_error

from gluelamp.methods.base import Method
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.head_only import HeadOnly
from gluelamp.methods.lora import LoRA
from gluelamp.methods.pafi import PaFi
from gluelamp.methods.xpeft import XPeft
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.batches import training_order
from gluelamp.training.evaluation import predict
from gluelamp.training.profile_state import Rates
from solo_trainer import SoloTrainer

CPU = torch.device("cpu")
FULL = FullFineTuning()
HEAD = HeadOnly()
LORA = LoRA(dropout=0.3)
MakeTrainer = Callable[..., SoloTrainer]


def rates_by_step(trainer: SoloTrainer) -> list[list[float]]:
    """The learning rate of each parameter group at each step, without training."""
    rates = []
    for _ in range(trainer.config.epochs * trainer.state.steps_per_epoch):
        rates.append([group["lr"] for group in trainer.state.optimizer.param_groups])
        trainer.state.optimizer.step()
        trainer.state.schedule.step()
    return rates


SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda fraction: 1 - fraction,
    "cosine": lambda fraction: (1 + math.cos(math.pi * fraction)) / 2,
    "constant_with_warmup": lambda fraction: 1.0,
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
    """Loshchilov and Hutter, Algorithm 2: in addition to Adam's step, each value shrinks by rate x decay."""
    options = {"method": method, "dropout": 0.0, "warmup_ratio": 0.0, "rates": Rates(1e-2, 3e-2)}
    plain, decayed = (make_trainer(name, weight_decay=0.1 * on, **options) for on, name in enumerate("ab"))
    start = [master.detach().clone() for master in plain.weights.masters]
    for trainer in (plain, decayed):
        trainer._step(trainer.states)
    count = len(plain.adaptation.trainable)
    rates = [1e-2] * count + [3e-2] * (len(start) - count)
    for before, one, other, rate in zip(
        start, plain.weights.masters, decayed.weights.masters, rates, strict=True
    ):
        # Values below 4 are rounded to 2.4e-7 at each of two steps.
        torch.testing.assert_close(other - one, -rate * 0.1 * before, atol=5e-7, rtol=0)


def test_gradients_are_clipped_over_all_trained_values_together(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: dict[float | None, float] = {}
    for limit in (None, 0.01):
        trainer = make_trainer(method=FULL, dropout=0.0, max_grad_norm=limit)

        def keep(trainer: SoloTrainer = trainer, limit: float | None = limit) -> None:
            gradients = [m.grad.flatten() for m in trainer.weights.masters if m.grad is not None]
            norms[limit] = float(torch.cat(gradients).norm())

        monkeypatch.setattr(
            trainer.state, "optimizer", SimpleNamespace(step=keep, zero_grad=lambda **_: None)
        )
        monkeypatch.setattr(trainer.state.schedule, "step", lambda: None)
        trainer._step(trainer.states)
    assert norms[None] > 0.1
    assert norms[0.01] == pytest.approx(0.01, rel=1e-4)


def first_batch(trainer: SoloTrainer) -> np.ndarray:
    config = trainer.config
    lengths = trainer.profile.train.lengths
    return training_order(lengths, config.batch_size, config.bucket_batches, trainer.profile.seed, 0)[0]


def test_a_regression_is_trained_on_the_mean_squared_error(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(task="stsb", dropout=0.0, method=FULL)
    batch = first_batch(trainer)
    outputs = predict(trainer.model, trainer.profile.train, 128, CPU)[batch, 0]
    expected = mean_squared_error(trainer.profile.train.labels[batch], outputs)
    assert trainer.run().progress.losses[0] == pytest.approx(expected, rel=1e-5)


def test_a_classification_is_trained_on_the_cross_entropy(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(task="mnli", dropout=0.0, method=FULL)
    batch = first_batch(trainer)
    logits = predict(trainer.model, trainer.profile.train, 128, CPU)[batch].astype(np.float64)
    chosen = logits[np.arange(len(batch)), trainer.profile.train.labels[batch]]
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen)
    assert trainer.run().progress.losses[0] == pytest.approx(expected, rel=1e-5)


def test_trained_values_at_fixed_positions_are_in_the_weights(
    make_trainer: MakeTrainer, tiny_backbone: Path
) -> None:
    """A fused optimiser does not change the version of a tensor; the sparse weights must be updated too."""
    trainer = make_trainer(method=PaFi(density=0.2))
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


@pytest.mark.parametrize(
    "method", [PaFi(density=0.2), XPeft(num_adapters=4, top_k=2, reduction_factor=4)], ids=["pafi", "xpeft"]
)
def test_an_evaluation_uses_values_that_were_written_without_a_version(
    make_trainer: MakeTrainer, method: Method
) -> None:
    """Fused steps and replayed graphs write in this way, and a replayed graph runs no Python in between."""
    trainer = make_trainer(method=method)
    (before,) = trainer.passes.outputs(trainer.states)
    for master in trainer.weights.masters:
        master.data.copy_(torch.randn(master.shape))
    trainer.passes.sync_weights()
    (after,) = trainer.passes.outputs(trainer.states)
    fresh = make_trainer("fresh", method=method)
    fresh.adaptation.load_task_state(trainer.adaptation.task_state())
    (expected,) = fresh.passes.outputs(fresh.states)
    np.testing.assert_allclose(after["validation"], expected["validation"], atol=1e-6)
    assert not np.allclose(after["validation"], before["validation"], atol=1e-2)


def test_tokens_and_operations_are_counted_without_padding(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(epochs=3, method=HEAD)
    split: EncodedSplit = trainer.profile.train
    outcome = trainer.run()
    assert outcome.progress.tokens == 3 * split.lengths.sum()
    speed = outcome.speed
    assert speed["tokens_per_second"] == pytest.approx(outcome.progress.tokens / speed["train_seconds"])
    assert speed["samples_per_second"] == pytest.approx(3 * len(split) / speed["train_seconds"])
    assert speed["utilisation"] == speed["model_flops_per_second"] / speed["matmul_flops_per_second"]


def test_operations_of_a_token_are_those_of_its_matrix_products_without_padding(
    make_trainer: MakeTrainer,
) -> None:
    """Two for each weight and token; full fine-tuning's backward pass takes twice as many again."""
    trainer = make_trainer(method=FULL, eval_steps=99, epochs=1)
    found = trainer.run().speed["model_flops_per_token"]
    lengths = trainer.profile.train.lengths
    assert len(set(lengths)) > 1  # else nothing is padded
    length = np.bincount(lengths).argmax()
    width, inner, layers, classes = 32, 64, 2, 2
    attention = layers * (4 * length * width**2 + 2 * length**2 * width)
    feed_forward = 2 * width * inner * (length * (layers - 1) + 1)  # the last block's reads one token
    head = width**2 + width * classes  # with the pooler
    assert found == pytest.approx(3 * 2 * (attention + feed_forward + head) / length)


def test_the_peak_memory_is_that_of_training_alone(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, peak = make_trainer(epochs=1, method=HEAD), {"peak_bytes": 1}
    speed = trainer._speed

    def measured() -> dict[str, float]:
        peak["peak_bytes"] = 2
        return speed()

    monkeypatch.setattr(trainer, "_speed", measured)
    monkeypatch.setattr("gluelamp.training.trainer.peak_memory", lambda _: dict(peak))
    assert trainer.run().memory == {"peak_bytes": 1}


def reached(trainer: SoloTrainer, name: str, positions: torch.Tensor) -> int:
    """Count the positions of a tensor that some training row can reach, from the rows alone."""
    rows = trainer.profile.train
    assert rows.segments is not None
    table = name.rpartition(".embeddings.")[2]
    used = {
        "word_embeddings.weight": set(rows.tokens.tolist()),
        "position_embeddings.weight": set(range(int(rows.lengths.max()))),
        "token_type_embeddings.weight": set(rows.segments.tolist()),
    }
    if table not in used:
        return len(positions)
    width = trainer.model.config.hidden_size
    return sum(position // width in used[table] for position in positions.tolist())


@pytest.mark.parametrize("order", ["smallest", "random"])
def test_live_values_are_those_that_some_training_row_reaches(
    make_trainer: MakeTrainer, order: Literal["smallest", "random"]
) -> None:
    # Attention does not depend on the bias of the keys: its gradient is zero up to rounding.
    method = PaFi(density=0.3, order=order, exclude=r"key\.bias")
    trainer = make_trainer(method=method, task="cola", epochs=1)
    trained = {
        name.removesuffix(".positions"): positions
        for name, positions in trainer.adaptation.shared_state().items()
    }
    expected = sum(reached(trainer, name, positions) for name, positions in trained.items())
    assert trainer.run().live == expected
    count = sum(map(len, trained.values()))
    assert 0.1 * count < expected < 0.9 * count
    resumed = make_trainer(method=method, task="cola", epochs=1)
    assert resumed.run().live == expected  # of the checkpoint: nothing is trained


def test_the_head_has_no_live_values_of_the_method(make_trainer: MakeTrainer) -> None:
    assert make_trainer(method=HEAD, epochs=1).run().live == 0
