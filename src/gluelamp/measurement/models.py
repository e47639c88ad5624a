"""Models with random weights in the three states that are measured: bare, unmerged and merged.

`build_states` builds one model per state. `PairedModels` builds the models of the certificate, which also
proves on perturbed values that the merged model contains the method.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gluelamp.backbones.anatomy import anatomy, readable_tokens
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.heads import HeadType
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.errors import InputError
from gluelamp.measurement.base import MeasuredModel
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.phases import adapt_untrained
from gluelamp.records.measurements import MERGE_TOLERANCE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OUTPUTS = 2
"""Number of outputs of the head."""

BASE, CONTROL, CANDIDATE = "base", "control", "candidate"
"""The bare backbone, a second copy of it, and the backbone with the method."""

_SEED = 0
# Large enough to change the outputs, small enough not to saturate them.
_STD = 0.05


@torch.no_grad()
def build_bare(backbone: BackboneConfig, head: HeadType = "two_layer") -> PreTrainedModel:
    """Return the bare backbone with random values in every tensor, in evaluation mode.

    The values are the same in every call. Biases and LayerNorm scales, which usually start at zero or
    one, are random too: otherwise a method that scales them would have no effect, and a merge that
    ignores them would go unnoticed.

    Args:
        backbone: its ``shape`` is used.
        head: type of the head.
    """
    torch.manual_seed(_SEED)
    model = build_from_shape(backbone, OUTPUTS, ATTENTION, head).eval()
    for value in model.parameters():
        value.add_(_STD * torch.randn_like(value))
    return model


def build_states(
    backbone: BackboneConfig, method: Method, head: HeadType = "two_layer"
) -> dict[str, PreTrainedModel]:
    """Return the bare backbone, and copies of it with the method unmerged and, if possible, merged.

    Args:
        backbone: its ``shape`` is used.
        method: the method with its hyper-parameters.
        head: type of the head.

    Returns:
        Models with equal random weights under ``base``, ``unmerged`` and, if the method merges,
        ``merged``.

    Raises:
        InputError: if the method does not support this architecture or size.
    """
    base = build_bare(backbone, head)
    # The FLOPs of a method that skips tokens depend on its initial values, so these must be reproducible.
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
    # transformers reads the values of a mask to find out whether it has padding. Meta tensors have no values.
    return {"input_ids": tokens} | ({} if tokens.is_meta else {"attention_mask": torch.ones_like(tokens)})


def backward(adaptation: Adaptation, inputs: dict[str, Tensor]) -> None:
    """Compute the gradients of a classification loss, as one training step does.

    Args:
        adaptation: its model is set to training mode.
        inputs: from `random_inputs`.
    """
    model = adaptation.model.train()
    labels = torch.zeros(len(inputs["input_ids"]), dtype=torch.long, device=model.device)

    # The forward pass is a function, since some methods run it more than once per step.
    def forward() -> Tensor:
        return model(**inputs).logits.float()

    adaptation.objective(forward, lambda outputs: cross_entropy(outputs, labels)).backward()


class PairedModels:
    """The bare backbone with random weights, and the method on it with perturbed values.

    Args:
        model: the backbone and the method.
        state: ``merged`` or ``unmerged``.
        length: tokens of the example on which the outputs are compared.

    Raises:
        InputError: if the method does not support the backbone, or cannot be merged with these options.
    """

    def __init__(self, model: MeasuredModel, state: str, length: int) -> None:
        self._base = build_bare(model.backbone)
        # Outputs are compared in fp32 on the CPU, before the copies are cast and moved for the timing.
        inputs = random_inputs(self._base, 1, length)
        adaptation = adapt_perturbed(model.method, self._base)
        with torch.no_grad():
            bare, unmerged = (each.eval()(**inputs).logits for each in (self._base, adaptation.model))
            if state == "merged":
                adaptation.merge()
            self._candidate = adaptation.model.eval()
            final = self._candidate(**inputs).logits
        self.outputs = {
            "largest": float(unmerged.abs().max()),
            "changed_by_method": float((unmerged - bare).abs().max()),
            "changed_by_merging": float((final - unmerged).abs().max()),
        }
        """The largest fp32 output of the head, and the largest changes of an output."""

    def copies(self, seed: int) -> dict[str, PreTrainedModel]:
        """Return new copies of `BASE`, `CONTROL` and `CANDIDATE`, created in a seeded random order."""
        # The order of creation decides which copy gets which part of memory, so it is random.
        names = random.Random(seed).sample([BASE, CONTROL, CANDIDATE], 3)
        copies = {name: deepcopy(self._candidate if name == CANDIDATE else self._base) for name in names}
        return {name: copies[name] for name in (BASE, CONTROL, CANDIDATE)}


def outputs_reasons(outputs: Mapping[str, float]) -> list[str]:
    """Return a sentence if merging changed the outputs, so that the merged model is not the method."""
    changed, largest = outputs["changed_by_merging"], outputs["largest"]
    if changed <= MERGE_TOLERANCE * largest:
        return []
    return [f"Merging changed the outputs by up to {changed:.3g}, where the largest is {largest:.3g}."]
