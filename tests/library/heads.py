"""Tiny models with the heads that are not sequence classifiers, and bare encoders."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from gluelamp.methods.base import Adaptation
from tiny_models import SHAPES, batch

HEADS: dict[str, Any] = {
    "tokens": AutoModelForTokenClassification,
    "question": AutoModelForQuestionAnswering,
    "bare": AutoModel,
}


def headed(architecture: str, head: str) -> PreTrainedModel:
    """Return a fresh copy of a random two-layer model, in evaluation mode."""
    return copy.deepcopy(_prototype(architecture, head))


@lru_cache
def _prototype(architecture: str, head: str) -> PreTrainedModel:
    labels = 3 if head == "tokens" else 2
    config = AutoConfig.for_model(model_type=architecture, **SHAPES[architecture], num_labels=labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HEADS[head].from_config(config)
        for name, parameter in model.named_parameters():
            # No zeros and no ones: they would hide a part that is not trained, stored or loaded.
            mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            torch.nn.init.normal_(parameter, mean, std=0.2)
    return model.eval()


def labelled(head: str, seed: int = 0) -> dict[str, Tensor]:
    """Return a batch with the labels of a head; a bare encoder has none."""
    inputs = batch(seed)
    rows, length = inputs["input_ids"].shape
    labels = {
        "tokens": {"labels": inputs["input_ids"] % 3},
        "question": {"start_positions": torch.arange(rows) % length, "end_positions": torch.full((rows,), 5)},
        "bare": {},
    }
    return inputs | labels[head]


def loss(adapted: Adaptation, head: str, seed: int = 0) -> Tensor:
    """Return the training loss; of a bare encoder, one of the test's own."""
    inputs = labelled(head, seed)
    if head != "bare":
        return adapted.loss(inputs)
    return adapted.objective(lambda: adapted.model(**inputs)[0], lambda hidden: hidden.sin().mean())


def outputs(model: PreTrainedModel, head: str) -> Tensor:
    """Return all that the head computes in evaluation mode; hidden states of a bare encoder."""
    model.eval()
    with torch.no_grad():
        found = model(**batch())
    if head == "question":
        return torch.stack([found.start_logits, found.end_logits])
    return found[0]
