"""The reference of the training benchmarks: LoRA r=8 of ``peft`` in Hugging Face Trainer."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, TrainingArguments

from gluelamp.backbones.load import Checkpoint, load_tokenizer
from gluelamp.tasks.encoding import EncodedSplit


def peer_trainer(
    checkpoint: Checkpoint,
    outputs: int,
    rows: EncodedSplit,
    folder: str,
    device: torch.device,
    padded_to: int | None = None,
    **options: Any,
) -> transformers.Trainer:
    """Load the backbone, add a LoRA adapter, and return its trainer.

    Args:
        checkpoint: checkpoint of the backbone.
        outputs: number of outputs of the head.
        rows: training rows.
        folder: folder for the files of the trainer.
        device: the GPU or the CPU.
        padded_to: tokens to which every row is padded; those of the longest row of a batch if None.
        options: further training arguments.
    """
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint.folder, num_labels=outputs)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], task_type="SEQ_CLS")
    arguments = TrainingArguments(
        output_dir=folder,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        use_cpu=device.type == "cpu",
        seed=0,
        **options,
    )
    trainer = transformers.Trainer(
        model=get_peft_model(model, lora),
        args=arguments,
        train_dataset=_examples(rows),
        data_collator=DataCollatorWithPadding(
            load_tokenizer(checkpoint), "max_length" if padded_to else True, padded_to
        ),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


# A list, which the trainer accepts as a data set although its annotation does not.
def _examples(rows: EncodedSplit) -> Any:
    bounds = zip(rows.offsets[:-1], rows.offsets[1:], strict=True)
    return [
        {"input_ids": rows.tokens[start:end], "attention_mask": [1] * int(end - start), "labels": int(label)}
        for (start, end), label in zip(bounds, rows.labels, strict=True)
    ]
