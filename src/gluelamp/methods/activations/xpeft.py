"""X-PEFT (Kwak, Kim, 2024, arXiv 2401.16137): tiny masks that select among many given adapters.

A new profile (or task) trains two mask vectors a block: one over the down-projections of N frozen
adapters, one over their up-projections. The masks do not depend on the input, so the selected adapter
is formed once a step, and at the end it is one ordinary adapter. Only the abstract is known to us; what
it leaves open is a field here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.errors import InputError
from gluelamp.methods.activations.inserted import (
    Bottleneck,
    InsertedModule,
    between_norms,
    reduced_width,
)
from gluelamp.methods.adaptation import Adaptation, Change
from gluelamp.methods.method import Method


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class XPeft(Method):
    """Train masks over a bank of random frozen adapters, placed as the Pfeiffer adapter is.

    Trained: 2 N a block. Stored: 8 N bytes a block for soft masks, 2 ceil(N / 8) for hard ones.

    Args:
        mask: ``soft`` weights by softmax; ``hard`` takes the ``top_k``, with a straight-through
            gradient, and stores bits.
        num_adapters: N.
        top_k: k, of hard masks.
        normalise_hard: whether the sum over the k selected adapters is divided by k.
        gumbel_tau: temperature of Gumbel noise on the logits of hard masks in training; 0 is none.
        reduction_factor: hidden size over the adapters' bottleneck.
        bank_seed: draws the bank; the same for all tasks, so the bank is shared.
        bank_std: standard deviation of the bank's entries; biases are zero. A mean over k independent
            entries is 1 / sqrt(k) of it: the adapters' usual 0.02 would leave almost no effect, and a
            sum over k (``normalise_hard: none``) of it would drown the hidden states.
        init_std: standard deviation of the first logits. Zero would let a hard mask take the first k.
        inner_layer_norm: whether a trained LayerNorm of the bottleneck's size stands before the ReLU.
    """

    mask: Literal["soft", "hard"] = "hard"
    num_adapters: int = Field(default=100, ge=1)
    top_k: int = Field(default=50, ge=1)
    normalise_hard: Literal["none", "k"] = "k"
    gumbel_tau: float = Field(default=0.0, ge=0)
    reduction_factor: int = Field(default=16, ge=1)
    bank_seed: int = Field(default=0, ge=0)
    bank_std: float = Field(default=0.3, gt=0)
    init_std: float = Field(default=0.01, ge=0)
    inner_layer_norm: bool = False

    @model_validator(mode="after")
    def _bank_is_large_enough(self) -> XPeft:
        if self.mask == "hard" and self.top_k > self.num_adapters:
            raise ValueError(
                f"method.top_k={self.top_k} is larger than method.num_adapters={self.num_adapters}; "
                "a hard mask cannot take more adapters than there are"
            )
        return self

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Insert one selecting adapter a block."""
        width = model.config.hidden_size
        bottleneck = reduced_width(width, self.reduction_factor)
        device = next(model.parameters()).device
        generator = torch.Generator().manual_seed(self.bank_seed)
        return [
            SelectedAdapterChange(block["ffn.norm"], adapter)
            for block in parts.blocks
            for bank in [_random_bank(self, width, bottleneck, generator, device)]
            for adapter in [SelectedAdapter(self, width, bottleneck, bank)]
        ]


def _random_bank(
    method: XPeft, width: int, bottleneck: int, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    shapes = (method.num_adapters, bottleneck, width), (method.num_adapters, width, bottleneck)
    if device.type == "meta":
        return torch.empty(shapes[0], device=device), torch.empty(shapes[1], device=device)
    with torch.device("cpu"):
        down, up = (torch.empty(s).normal_(0, method.bank_std, generator=generator) for s in shapes)
    return down.to(device), up.to(device)


class Mask(nn.Module):
    """Weights over N adapters, from trained logits, in fp32.

    Args:
        method: its mask fields are read.
    """

    computes_in_fp32 = True

    def __init__(self, method: XPeft) -> None:
        super().__init__()
        self.method = method
        self.logits = nn.Parameter(torch.empty(method.num_adapters).normal_(0, method.init_std))

    def forward(self) -> Tensor:
        """Return the weights (N,)."""
        if self.method.mask == "soft":
            return torch.softmax(self.logits, dim=0)
        logits: Tensor = self.logits
        if self.training and self.method.gumbel_tau:
            uniform = torch.rand_like(logits).clamp_min(torch.finfo(logits.dtype).tiny)
            logits = (logits - torch.log(-torch.log(uniform))) / self.method.gumbel_tau
        soft = torch.softmax(logits, dim=0)
        hard = torch.zeros_like(soft).scatter(0, logits.topk(self.method.top_k).indices, 1.0)
        if self.method.normalise_hard == "k":
            hard = hard / self.method.top_k
        # Straight through: the hard mask, exactly, with the gradient of the softmax.
        return hard + (soft - soft.detach())

    def stored(self) -> Tensor:
        """Return the logits, or the chosen adapters as ceil(N / 8) bytes, first adapter highest bit."""
        logits = self.logits.detach()
        if self.method.mask == "soft":
            return logits
        chosen = logits.new_zeros(len(logits) + -len(logits) % 8)
        chosen.scatter_(0, logits.topk(self.method.top_k).indices, 1.0)
        return (chosen.view(-1, 8) @ 2.0 ** _bit_numbers(chosen)).to(torch.uint8)

    def load(self, stored: Tensor) -> None:
        """Take back what `stored` returned; bits become logits of 1 and 0."""
        if self.method.mask == "hard":
            bits = stored.view(-1, 1) >> _bit_numbers(stored) & 1
            stored = bits.flatten()[: len(self.logits)]
        with torch.no_grad():
            self.logits.copy_(stored)


def _bit_numbers(like: Tensor) -> Tensor:
    return torch.arange(7, -1, -1, dtype=like.dtype, device=like.device)


class SelectedAdapter(nn.Module):
    """``B relu(A h)`` with ``A`` and ``B`` the masked sums over the bank.

    Args:
        method: the recipe.
        width: d.
        bottleneck: b.
        bank: the frozen adapters' down-projections (N, b, d) and up-projections (N, d, b).
    """

    bank_down: Tensor
    bank_up: Tensor

    def __init__(self, method: XPeft, width: int, bottleneck: int, bank: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.width, self.bottleneck = width, bottleneck
        self.mask_down, self.mask_up = Mask(method), Mask(method)
        self.norm = nn.LayerNorm(bottleneck) if method.inner_layer_norm else nn.Identity()
        self.register_buffer("bank_down", bank[0], persistent=False)
        self.register_buffer("bank_up", bank[1], persistent=False)

    def weights(self) -> tuple[Tensor, Tensor]:
        """Return the selected adapter: A (b, d) and B (d, b)."""
        down, up = (mask().to(self.bank_down.dtype) for mask in (self.mask_down, self.mask_up))
        # As a product over the flattened bank: one pass over its bytes forward, one backward.
        a = (down @ self.bank_down.flatten(1)).view(self.bottleneck, self.width)
        b = (up @ self.bank_up.flatten(1)).view(self.width, self.bottleneck)
        return a, b

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., d)."""
        a, b = self.weights()
        inner = self.norm(nn.functional.linear(hidden, a))
        return nn.functional.linear(torch.relu(inner), b)


class SelectedAdapterChange(InsertedModule):
    """An inserted `SelectedAdapter`, of which a task stores the masks alone.

    Args:
        handle: the part on which the adapter hangs.
        adapter: the selecting adapter.
    """

    def __init__(self, handle: Handle, adapter: SelectedAdapter) -> None:
        super().__init__(handle, adapter, between_norms(adapter))
        self.adapter = adapter

    @property
    def _masks(self) -> dict[str, Mask]:
        adapter = self.adapter
        return {
            f"{self.name}.mask_down": adapter.mask_down,
            f"{self.name}.mask_up": adapter.mask_up,
        }

    def state(self) -> dict[str, Tensor]:
        """Return the masks, and the inner LayerNorm if there is one."""
        norm = {name: p for name, p in self.parameters().items() if ".norm." in name}
        return {name: mask.stored() for name, mask in self._masks.items()} | norm

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned."""
        for name, mask in self._masks.items():
            mask.load(state[name])
        with torch.no_grad():
            for name, value in self.parameters().items():
                if ".norm." in name:
                    value.copy_(state[name])


def export_adapter(adaptation: Adaptation) -> Adaptation:
    """Turn an X-PEFT adaptation into one with ordinary adapters of the same outputs.

    Inference then costs what one adapter costs, and the bank is no longer needed.

    Args:
        adaptation: made by `XPeft` without inner LayerNorm; it is detached.

    Raises:
        InputError: if there is an inner LayerNorm, which an ordinary adapter does not have.
    """
    changes: list[Change] = []
    for change in adaptation.changes:
        if not isinstance(change, SelectedAdapterChange):
            raise InputError("Only an X-PEFT adaptation can be exported to ordinary adapters.")
        adapter = change.adapter
        if not isinstance(adapter.norm, nn.Identity):
            raise InputError("method.inner_layer_norm=true has no ordinary adapter to export to.")
        plain = Bottleneck(adapter.width, adapter.bottleneck, nn.ReLU(), nn.init.zeros_)
        plain.to(adapter.bank_down).requires_grad_(False)
        with torch.no_grad():
            for linear, weight in zip((plain.down, plain.up), adapter.weights(), strict=True):
                linear.weight.copy_(weight)
        change.detach()
        changes.append(InsertedModule(change.handle, plain, between_norms(plain)))
    return Adaptation(adaptation.model, changes, adaptation.head, adaptation.encoder_size)
