"""A plain loop and ``transformers.Trainer`` train an adapted model as the suite's own trainer does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, get_scheduler

import gluelamp as gl
from gluelamp.methods.phase_loop import PhaseLoop
from gluelamp.methods.phases import Phase, ScoringPhase, TrainingPhase, run_phases, untrained_selection
from gluelamp.training.batches import collate, training_order
from gluelamp.training.phase_runner import squared_gradients
from gluelamp.training.profile_state import Rates
from solo_trainer import SoloTrainer
from tiny_models import same_bits
from training.test_loss_parity import Reference, TrainerOrder

RATES = Rates(1e-2, 5e-3)
EPOCHS, BATCH_SIZE, STEPS, WARMUP, CLIP = 2, 8, 10, 2, 0.5
METHODS = {
    "lora": gl.LoRA(rank=2),
    "pafi": gl.PaFi(density=0.05),
    "hiwi": gl.HiWi(),
    "xpeft": gl.XPEFT(mask="soft", num_adapters=8),
    "houlsby": gl.Houlsby(bottleneck=4),
    "fish": gl.FISH(density=0.05, examples=8),
    "oft": gl.Peft(type="OFT", options={"oft_block_size": 8}),
}

MakeTrainer = Callable[..., SoloTrainer]


def classifier(backbone: Path) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_pretrained(
        backbone, attn_implementation="eager", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def adapted_classifier(name: str, backbone: Path) -> gl.Adaptation:
    model = classifier(backbone)
    return METHODS[name].adapt(model, untrained_selection(METHODS[name], model))


def own_trainer(name: str, make_trainer: MakeTrainer, backbone: Path) -> tuple[SoloTrainer, gl.Adaptation]:
    """Return the suite's trainer, and an adaptation of a user's model with the same initial values."""
    selection = untrained_selection(METHODS[name], classifier(backbone))
    options = {"epochs": EPOCHS, "dropout": 0.0, "warmup_ratio": WARMUP / STEPS, "max_grad_norm": CLIP}
    trainer = make_trainer(method=METHODS[name], selection=selection, rates=RATES, **options)
    return trainer, with_values_of(trainer.adaptation, adapted_classifier(name, backbone))


def with_values_of(other: gl.Adaptation, adapted: gl.Adaptation) -> gl.Adaptation:
    start = other.trainable | other.head
    with torch.no_grad():
        for key, value in (adapted.trainable | adapted.head).items():
            value.copy_(start[key])
    return adapted


def encoded(trainer: SoloTrainer, examples: Any) -> dict[str, Tensor]:
    inputs, labels = collate(trainer.profile.train, examples, torch.device("cpu"))
    return {**inputs, "labels": labels.long()}


def dataset(trainer: SoloTrainer) -> list[dict[str, Tensor]]:
    rows = range(len(trainer.profile.train))
    return [{key: value[0] for key, value in encoded(trainer, [row]).items()} for row in rows]


def padded(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    labels = torch.stack([row["labels"] for row in rows])
    names = [name for name in rows[0] if name != "labels"]
    pad = {name: [row[name] for row in rows] for name in names}
    return {n: torch.nn.utils.rnn.pad_sequence(v, batch_first=True) for n, v in pad.items()} | {
        "labels": labels
    }


def plain_loop(trainer: SoloTrainer, adapted: gl.Adaptation) -> list[float]:
    optimizer = adapted.optimizer(RATES.method, RATES.head)
    schedule = get_scheduler("linear", optimizer, WARMUP, STEPS)
    adapted.model.train()
    losses = []
    for epoch in range(EPOCHS):
        lengths = trainer.profile.train.lengths
        for examples in training_order(lengths, BATCH_SIZE, trainer.config.bucket_batches, 0, epoch):
            loss = adapted.loss(encoded(trainer, examples))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapted.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def arguments(folder: Path, **options: Any) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        lr_scheduler_type="linear",
        warmup_steps=WARMUP,
        max_grad_norm=CLIP,
        per_device_train_batch_size=BATCH_SIZE,
        remove_unused_columns=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **options,
    )


def hugging_face_trainer(trainer: SoloTrainer, adapted: gl.Adaptation, folder: Path) -> list[float]:
    reference = Reference(
        model=adapted.model,
        args=arguments(folder, save_strategy="no"),
        train_dataset=dataset(trainer),
        data_collator=padded,
        optimizers=(adapted.optimizer(RATES.method, RATES.head), None),
    )
    reference.sampler, reference.losses = TrainerOrder(trainer), []
    reference.train()
    return reference.losses


@pytest.mark.parametrize("name", METHODS)
def test_both_loops_have_the_losses_of_the_suites_trainer(
    name: str, make_trainer: MakeTrainer, tiny_backbone: Path, tmp_path: Path
) -> None:
    trainer, adapted = own_trainer(name, make_trainer, tiny_backbone)
    losses = plain_loop(trainer, adapted)
    trainer, adapted = own_trainer(name, make_trainer, tiny_backbone)
    hugging_face = hugging_face_trainer(trainer, adapted, tmp_path / "reference")
    expected = trainer.run().progress.losses
    assert losses == pytest.approx(expected, abs=1e-5)
    assert hugging_face == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 1e-2  # a model that does not learn would agree with anything


class SameOrder:
    """A dataloader with the batches of the suite's trainer, epoch after epoch."""

    def __init__(self, trainer: SoloTrainer) -> None:
        self.trainer, self.order = trainer, TrainerOrder(trainer)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (encoded(self.trainer, examples) for examples in self.order)


def test_a_training_phase_over_a_dataloader_is_that_of_the_suite(
    make_trainer: MakeTrainer, tiny_backbone: Path, tmp_path: Path
) -> None:
    method = METHODS["lora"]
    trainer = make_trainer(method=method, rates=RATES, epochs=EPOCHS, dropout=0.0)
    adapted = with_values_of(trainer.adaptation, adapted_classifier("lora", tiny_backbone))
    phase = TrainingPhase(method, "lora", EPOCHS, RATES.method)
    found = PhaseLoop(SameOrder(trainer), 1.0, RATES.head)(phase, adapted)
    trainer.run()
    expected = load_file(tmp_path / "run" / "last.safetensors")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=0)


def test_fish_selects_what_it_selects_in_the_suite(make_trainer: MakeTrainer, tiny_backbone: Path) -> None:
    trainer, method, seed = make_trainer(method=METHODS["lora"]), METHODS["fish"], 3
    rows, task = trainer.profile.train, trainer.task

    def suite(phase: Phase, adapted: gl.Adaptation) -> dict[str, Tensor]:
        assert isinstance(phase, ScoringPhase)
        return squared_gradients(phase, adapted, task, rows, seed)

    expected = run_phases(method, classifier(tiny_backbone), suite).tensors
    sample = np.random.default_rng(seed).permutation(len(rows))
    batches = [
        encoded(trainer, sample[start : start + 4]) for start in range(0, 16, 4)
    ]  # padded, unlike there
    found = method.select(classifier(tiny_backbone), batches).tensors
    wanted = {(name, where) for name, values in expected.items() for where in values.tolist()}
    selected = {(name, where) for name, values in found.items() for where in values.tolist()}
    assert len(selected) == len(wanted) > 1000
    assert len(selected & wanted) >= len(wanted) - 2  # scores at the threshold that are equal to rounding


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_of_hugging_face_trainer_resumes(
    name: str,
    make_trainer: MakeTrainer,
    tiny_backbone: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = dataset(make_trainer(method=METHODS["lora"]))

    def train(adapted: gl.Adaptation, resume: Path | None = None) -> transformers.Trainer:
        trainer = transformers.Trainer(
            model=adapted.model,
            args=arguments(tmp_path / "out", save_strategy="epoch"),
            train_dataset=rows,
            data_collator=padded,
            optimizers=(adapted.optimizer(RATES.method, RATES.head), None),
        )
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        return trainer

    whole = adapted_classifier(name, tiny_backbone)
    train(whole)
    half = tmp_path / "out" / f"checkpoint-{STEPS // EPOCHS}"
    resumed = adapted_classifier(name, tiny_backbone)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        train(resumed, half)
    assert not [record for record in caplog.records if "keys" in record.getMessage()]
    expected, found = whole.task_state(), resumed.task_state()
    assert expected.keys() == found.keys()
    assert all(same_bits(found[key], value) for key, value in expected.items())
    start = adapted_classifier(name, tiny_backbone).task_state()
    assert any(not torch.equal(start[key], value) for key, value in expected.items())
    for cls in (AutoModelForSequenceClassification, transformers.BertForSequenceClassification):
        with pytest.raises(ValueError, match="this is a checkpoint of an adapted model"):
            cls.from_pretrained(half)
    bare, restored = classifier(tiny_backbone).state_dict(), resumed.detach().state_dict()
    assert all(same_bits(restored[key], value) for key, value in bare.items() if key not in resumed.head)


def test_hugging_face_trainer_reloads_its_best_checkpoint_and_saves_an_ordinary_model(
    make_trainer: MakeTrainer, tiny_backbone: Path, tmp_path: Path
) -> None:
    rows = dataset(make_trainer(method=METHODS["lora"]))
    adapted = adapted_classifier("pafi", tiny_backbone)
    best = {"eval_strategy": "epoch", "load_best_model_at_end": True, "metric_for_best_model": "loss"}
    trainer = transformers.Trainer(
        model=adapted.model,
        args=arguments(tmp_path / "out", save_strategy="epoch", **best),
        train_dataset=rows,
        eval_dataset=rows[:16],
        data_collator=padded,
        optimizers=(adapted.optimizer(RATES.method, RATES.head), None),
    )
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-6)
    trainer.save_model(str(tmp_path / "final"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "final").eval()
    inputs = padded(rows)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**inputs).logits, adapted.model.eval()(**inputs).logits, atol=1e-5, rtol=0
        )
