"""A method's states on a backbone of random weights, and what goes through them."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gluelamp.backbones.anatomy import anatomy, readable_tokens
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.base import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OUTPUTS = 2
"""Values that the head returns."""

_SEED = 0
_STD = 0.05  # enough to change the outputs, too little to saturate them


@torch.no_grad()
def build_bare(backbone: BackboneConfig) -> PreTrainedModel:
    """Return the bare backbone with random values in every tensor, always the same, in evaluation mode.

    What starts at zero or one elsewhere, as biases do, is random too: a method that scales it would do
    nothing, and a merge that forgot it would pass unseen.

    Args:
        backbone: its ``shape`` is read.
    """
    torch.manual_seed(_SEED)
    model = build_from_shape(backbone, OUTPUTS, ATTENTION).eval()
    for value in model.parameters():
        value.add_(_STD * torch.randn_like(value))
    return model


def build_states(backbone: BackboneConfig, method: Method) -> dict[str, PreTrainedModel]:
    """Return a bare backbone and copies of it with the method at work and, if it can be, merged.

    Args:
        backbone: its ``shape`` is read.
        method: the recipe.

    Returns:
        ``base``, ``unmerged`` and perhaps ``merged``: models of equal random weights.

    Raises:
        InputError: if the method cannot serve this architecture or size.
    """
    base = build_bare(backbone)
    states = {"base": base, "unmerged": method.adapt(deepcopy(base)).model}
    candidate = method.adapt(deepcopy(base))
    with suppress(InputError):  # the method says itself that it cannot be merged
        states["merged"] = candidate.merge()
    return {name: model.eval() for name, model in states.items()}


def moved(method: Method, bare: PreTrainedModel) -> Adaptation:
    """Return an adaptation of a copy of a bare model, with values moved at random: as if it were trained.

    Args:
        method: the recipe.
        bare: stays as it is.
    """
    adaptation = method.adapt(deepcopy(bare))
    move(adaptation)
    return adaptation


@torch.no_grad()
def move(adaptation: Adaptation) -> None:
    """Add a little noise to every trained value of a method, the head's not among them."""
    for value in adaptation.trainable.values():
        value.add_(_STD * torch.randn_like(value))


def random_inputs(model: PreTrainedModel, batch: int, length: int) -> dict[str, Tensor]:
    """Return random tokens without padding, always the same, on the model's device.

    Args:
        model: whose vocabulary they are from.
        batch: examples.
        length: tokens an example.

    Raises:
        InputError: if the model cannot read that many tokens.
    """
    limit = readable_tokens(anatomy(model).embeddings.module)
    if limit is not None and length > limit:
        raise InputError(
            f"length={length} is not allowed: the backbone reads at most {limit} tokens. "
            f"Allowed: 1 to {limit}."
        )
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(model.config.vocab_size, (batch, length), generator=generator, device="cpu")
    tokens = tokens.to(model.device)
    # a mask of ones would be read, and without values there is nothing to read
    return {"input_ids": tokens} | ({} if tokens.is_meta else {"attention_mask": torch.ones_like(tokens)})


def backward(adaptation: Adaptation, inputs: dict[str, Tensor]) -> None:
    """Put the gradients of a classification on the trained values, as a training step does.

    Args:
        adaptation: its model is set to training mode.
        inputs: from `random_inputs`.
    """
    model = adaptation.model.train()
    labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long, device=model.device)

    def forward() -> Tensor:
        return model(**inputs).logits.float()

    adaptation.objective(forward, lambda outputs: cross_entropy(outputs, labels)).backward()
