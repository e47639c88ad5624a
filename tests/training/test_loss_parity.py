"""Step by step, the losses are those of Hugging Face Trainer on the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

from gluelamp.methods.base import Method
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.lora import LoRA
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.sample import generate
from gluelamp.training.batches import training_order
from solo_trainer import SoloTrainer

RATES = {FullFineTuning: 1e-3}
FULL = FullFineTuning()
LORA = LoRA(rank=4, alpha=8, targets=("query", "up"))
EPOCHS, BATCHES, BATCH_SIZE, CLIP = 2, 5, 8, 0.5


class TrainerOrder:
    """A batch sampler that yields the batches of our trainer, epoch after epoch."""

    def __init__(self, trainer: SoloTrainer) -> None:
        self.trainer, self.epoch = trainer, -1

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        lengths, config = self.trainer.profile.train.lengths, self.trainer.config
        for batch in training_order(lengths, BATCH_SIZE, config.bucket_batches, 0, self.epoch):
            yield batch.tolist()


class Reference(transformers.Trainer):
    """Hugging Face Trainer in our order of batches; it stores the unrounded loss of each step."""

    sampler: TrainerOrder
    losses: list[float]

    def get_train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_dataset, batch_sampler=self.sampler, collate_fn=self.data_collator)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses.append(float(loss))
        return loss


def reference_model(trainer: SoloTrainer, backbone: Path, method: Method) -> torch.nn.Module:
    """The same model built by transformers and peft, with the initial values of our head and LoRA."""
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone,
        num_labels=trainer.task.num_outputs,
        attn_implementation="eager",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    names: dict[str, str] = {name: name for name in trainer.adaptation.head}
    if method is LORA:
        targets = ["query", "intermediate.dense"]
        saved = ["classifier", "pooler"]
        config = LoraConfig(
            task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=targets, modules_to_save=saved
        )
        model = get_peft_model(model, config)
        names = {name: f"base_model.model.{name}" for name in trainer.adaptation.trainable}
        for name in trainer.adaptation.head:
            module, _, part = name.partition(".dense.") if ".dense." in name else name.partition(".")
            inner = f"dense.{part}" if ".dense." in name else part
            names[name] = f"base_model.model.{module}.modules_to_save.default.{inner}"
    state = trainer.adaptation.task_state()
    with torch.no_grad():
        for name, reference_name in names.items():
            model.get_parameter(reference_name).copy_(state[name])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == sum(master.numel() for master in trainer.weights.masters)
    return model


def reference_losses(
    trainer: SoloTrainer, backbone: Path, method: Method, schedule: str, folder: Path
) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    task = trainer.task
    rows = generate(task)["train"].head(len(trainer.profile.train)).to_dict("records")
    dataset = [
        tokenizer(*(row[column] for column in task.text_columns), truncation=True, max_length=64)
        | {"labels": row["label"]}
        for row in rows
    ]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        learning_rate=RATES.get(type(method), 1e-2),
        lr_scheduler_type=schedule,
        warmup_steps=2,
        weight_decay=0.0,
        max_grad_norm=CLIP,
        per_device_train_batch_size=BATCH_SIZE,
        remove_unused_columns=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    reference = Reference(
        model=reference_model(trainer, backbone, method),
        args=arguments,
        train_dataset=dataset,
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    reference.sampler, reference.losses = TrainerOrder(trainer), []
    reference.train()
    return reference.losses


@pytest.mark.parametrize(
    ("method", "task", "schedule"),
    [(FULL, "mrpc", "linear"), (LORA, "cola", "cosine"), (FULL, "stsb", "linear")],
    ids=["full-mrpc", "lora-cola", "full-stsb"],
)
def test_ten_steps_give_the_losses_of_hugging_face_trainer(
    make_trainer: Callable[..., SoloTrainer],
    tiny_backbone: Path,
    tmp_path: Path,
    method: Method,
    task: str,
    schedule: str,
) -> None:
    trainer = make_trainer(
        method=method,
        task=task,
        epochs=EPOCHS,
        dropout=0.0,
        schedule=schedule,
        warmup_ratio=0.2,
        max_grad_norm=CLIP,
    )
    expected = reference_losses(trainer, tiny_backbone, method, schedule, tmp_path / "reference")
    found = trainer.run().progress.losses
    assert len(found) == len(expected) == EPOCHS * BATCHES
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(found) - min(found) > 1e-2  # a model that does not learn would agree with anything
    assert known_task(task) is trainer.task
