"""The inputs of a training: the encoded rows and the model without a method."""

from __future__ import annotations

import pandas as pd
import torch
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy, output_layer, readable_tokens
from gluelamp.backbones.dropout import ATTENTION, set_dropout
from gluelamp.backbones.load import load_model, load_tokenizer
from gluelamp.backbones.task_ids import accept_task_ids
from gluelamp.errors import InputError
from gluelamp.experiments.plan import Plan
from gluelamp.tasks.encoding import EncodedSplit, concatenated, encode
from gluelamp.tasks.mixture import Mixture, member_split
from gluelamp.tasks.task import Task


def encode_splits(plan: Plan) -> tuple[EncodedSplit, dict[str, EncodedSplit]]:
    """Return the training rows, and the validation splits by name.

    Raises:
        InputError: if ``trainer.max_length`` is more than the encoder can read.
    """
    length = plan.config.trainer.max_length
    tokenizer = load_tokenizer(plan.checkpoint)
    _check_length(plan, tokenizer.model_max_length)
    cache = plan.root / "cache" / "tokens"

    def encoded(rows: pd.DataFrame, task: Task) -> EncodedSplit:
        return encode(rows, task, tokenizer, length, cache)

    train, validation = [], []
    for data in plan.data:
        present = [name for name in data.task.validation_splits if name in data.splits]
        train.append(encoded(plan.training_rows(data), data.task))
        validation.append({name: encoded(data.splits[name], data.task) for name in present})
    if not isinstance(plan.task, Mixture):
        return train[0], validation[0]
    # in a mixture each row carries the number of its task, and each split the name
    numbered = {
        f"{data.task.name}.{name}": member_split(split, number)
        for number, (data, splits) in enumerate(zip(plan.data, validation, strict=True))
        for name, split in splits.items()
    }
    return concatenated([member_split(split, number) for number, split in enumerate(train)]), numbered


def _check_length(plan: Plan, readable: int | None) -> None:
    length, added = plan.config.trainer.max_length, plan.config.method.added_tokens
    if readable is not None and length + added > readable:
        addition = f" The method adds {added} to each text." if added else ""
        raise InputError(
            f"trainer.max_length={length} is not allowed: backbone {plan.config.backbone.name!r} takes "
            f"at most {readable} tokens.{addition}"
        )


def bare_model(plan: Plan) -> PreTrainedModel:
    """Return the pre-trained model with a new head for the run's task, initialised from the run's seed.

    Raises:
        InputError: if ``trainer.max_length`` is more than the encoder has positions for.
    """
    torch.manual_seed(plan.config.seed)
    model = load_model(plan.checkpoint, plan.task.num_outputs, ATTENTION)
    _check_length(plan, readable_tokens(anatomy(model).embeddings.module))
    if any(plan.task.initial_head_bias):
        # The head of a regression task starts in the middle of the range of labels. From 0, its bias alone
        # needs hundreds of steps to get there, and until then the method learns almost nothing.
        output_layer(model).bias.data += torch.tensor(plan.task.initial_head_bias)
    if isinstance(plan.task, Mixture):
        accept_task_ids(model, len(plan.task.members))
    if plan.config.trainer.dropout is not None:
        set_dropout(model, plan.config.trainer.dropout)  # the backbone's only: the method is not applied yet
    return model
