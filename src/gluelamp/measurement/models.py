"""Models with random weights in the three states that are measured: bare, unmerged and merged."""

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
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.phases import adapt_untrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OUTPUTS = 2
"""Number of outputs of the head."""

_SEED = 0
_STD = 0.05  # large enough to change the outputs, small enough not to saturate them


@torch.no_grad()
def build_bare(backbone: BackboneConfig) -> PreTrainedModel:
    """Return the bare backbone with random values in every tensor, in evaluation mode.

    The values are the same in every call. Biases and LayerNorm scales, which usually start at zero or
    one, are random too: otherwise a method that scales them would have no effect, and a merge that
    ignores them would go unnoticed.

    Args:
        backbone: its ``shape`` is used.
    """
    torch.manual_seed(_SEED)
    model = build_from_shape(backbone, OUTPUTS, ATTENTION).eval()
    for value in model.parameters():
        value.add_(_STD * torch.randn_like(value))
    return model


def build_states(backbone: BackboneConfig, method: Method) -> dict[str, PreTrainedModel]:
    """Return the bare backbone, and copies of it with the method unmerged and, if possible, merged.

    Args:
        backbone: its ``shape`` is used.
        method: the method with its hyper-parameters.

    Returns:
        Models with equal random weights under ``base``, ``unmerged`` and, if the method merges,
        ``merged``.

    Raises:
        InputError: if the method does not support this architecture or size.
    """
    base = build_bare(backbone)
    # A method that skips tokens has FLOPs that depend on its initial values, so these must be reproducible.
    torch.manual_seed(_SEED)
    states = {"base": base, "unmerged": adapt_untrained(method, deepcopy(base)).model}
    # A second adaptation is merged, since merging changes the model in place.
    candidate = adapt_untrained(method, deepcopy(base))
    with suppress(InputError):  # raised by a method that cannot be merged
        states["merged"] = candidate.merge()
    return {name: model.eval() for name, model in states.items()}


@torch.no_grad()
def adapt_perturbed(method: Method, bare: PreTrainedModel) -> Adaptation:
    """Adapt a copy of a bare model, and add noise to the trained values in place of training.

    Args:
        method: the method with its hyper-parameters.
        bare: left unchanged.

    Returns:
        The adaptation. The values of its head are those of the bare model.
    """
    adaptation = adapt_untrained(method, deepcopy(bare))
    # Most methods start as the identity, so that an untrained method could be lost in a merge unnoticed.
    for value in adaptation.trainable.values():
        value.add_(_STD * torch.randn_like(value))
    return adaptation


def random_inputs(model: PreTrainedModel, batch: int, length: int) -> dict[str, Tensor]:
    """Return random tokens without padding, on the model's device. They are the same in every call.

    Args:
        model: its vocabulary is used.
        batch: number of examples.
        length: tokens per example.

    Raises:
        InputError: if the model cannot read that many tokens.
    """
    limit = readable_tokens(anatomy(model).embeddings.module)
    if limit is not None and length > limit:
        raise InputError(
            f"length={length} is not allowed: the backbone reads at most {limit} tokens. "
            f"Allowed: 1 to {limit}."
        )
    # A generator on the CPU gives the same tokens on every device.
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(model.config.vocab_size, (batch, length), generator=generator, device="cpu")
    tokens = tokens.to(model.device)
    # transformers checks whether a mask is all ones, which is impossible without values
    return {"input_ids": tokens} | ({} if tokens.is_meta else {"attention_mask": torch.ones_like(tokens)})


def backward(adaptation: Adaptation, inputs: dict[str, Tensor]) -> None:
    """Compute the gradients of a classification loss, as one training step does.

    Args:
        adaptation: its model is set to training mode.
        inputs: from `random_inputs`.
    """
    model = adaptation.model.train()
    labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long, device=model.device)

    def forward() -> Tensor:
        return model(**inputs).logits.float()

    adaptation.objective(forward, lambda outputs: cross_entropy(outputs, labels)).backward()
