"""The modules of X-PEFT: a mask over N given adapters, the adapter that two masks select, and its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Fp32Module
from gluelamp.methods.changes.inserted import InsertedModule, between_norms
from gluelamp.methods.xpeft_bank import Bank


class Mask(Fp32Module):
    """Weights over N adapters, from trained logits, in fp32.

    Args:
        size: N.
        top_k: how many adapters a hard mask takes; None makes the mask soft.
        divides: whether a hard mask's weights are 1 / k, not 1.
        gumbel_tau: temperature of Gumbel noise on the logits of a hard mask in training; 0 is none.
        init_std: standard deviation of the first logits.
    """

    def __init__(
        self,
        size: int,
        top_k: int | None = None,
        *,
        divides: bool = False,
        gumbel_tau: float = 0.0,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        self.top_k, self.divides, self.gumbel_tau = top_k, divides, gumbel_tau
        self.logits = nn.Parameter(torch.empty(size).normal_(0, init_std))

    def forward(self) -> Tensor:
        """Return the weights (N,)."""
        if self.top_k is None:
            return torch.softmax(self.logits, dim=0)
        logits: Tensor = self.logits
        if self.training and self.gumbel_tau:
            uniform = torch.rand_like(logits).clamp_min(torch.finfo(logits.dtype).tiny)
            logits = (logits - torch.log(-torch.log(uniform))) / self.gumbel_tau
        soft = torch.softmax(logits, dim=0)
        hard = torch.zeros_like(soft).scatter(0, logits.topk(self.top_k).indices, 1.0)
        if self.divides:
            hard = hard / self.top_k
        # Straight through: the hard mask, exactly, with the gradient of the softmax.
        return hard + (soft - soft.detach())

    def stored(self) -> Tensor:
        """Return the logits, or the chosen adapters as ceil(N / 8) bytes, first adapter highest bit."""
        logits = self.logits.detach()
        if self.top_k is None:
            return logits
        chosen = logits.new_zeros(len(logits) + -len(logits) % 8)
        chosen.scatter_(0, logits.topk(self.top_k).indices, 1.0)
        return (chosen.view(-1, 8) @ 2.0 ** _bit_numbers(chosen)).to(torch.uint8)

    def load(self, stored: Tensor) -> None:
        """Take back what `stored` returned; as for `logits_of`."""
        with torch.no_grad():
            self.logits.copy_(self.logits_of(stored))

    def logits_of(self, stored: Tensor) -> Tensor:
        """Return logits (..., N) of the masks that `stored` returned; bits become logits of 1 and 0.

        Args:
            stored: one mask, or stacked ones of several profiles (..., bytes).

        Raises:
            InputError: if another number of adapters is chosen than this mask takes.
        """
        if self.top_k is None:
            return stored
        bits = stored.unsqueeze(-1) >> _bit_numbers(stored) & 1
        chosen = bits.flatten(-2)[..., : len(self.logits)]
        numbers = chosen.sum(-1)
        if wrong := numbers[numbers != self.top_k].tolist():
            raise InputError(
                f"The task state's masks choose {wrong[0]} adapters, but method.top_k="
                f"{self.top_k}. Load it with the configuration of its run."
            )
        return chosen.to(self.logits.dtype)


def _bit_numbers(like: Tensor) -> Tensor:
    return torch.arange(7, -1, -1, dtype=like.dtype, device=like.device)


class Formed(NamedTuple):
    """One ordinary adapter: A (b, d) and B (d, b), with their biases if the bank has any."""

    down: Tensor
    up: Tensor
    down_bias: Tensor | None
    up_bias: Tensor | None


class _Kept(NamedTuple):
    """A formed adapter with what it was formed from."""

    formed: Formed
    logits: tuple[Tensor, ...]
    places: tuple[tuple[int, int], ...]
    bank: Tensor


class SelectedAdapter(nn.Module):
    """``B relu(A h + a) + c`` with A, B and the biases a, c the masked sums over the bank.

    In evaluation without gradients the sums are formed once for the masks that are there, and a pass
    costs what one ordinary adapter costs. A write into the logits that torch does not count as a version,
    such as one through ``.data``, is seen at the next pass that may learn.

    Args:
        mask_down: weights of the down-projections.
        mask_up: weights of the up-projections.
        bank: the given adapters.
        inner_layer_norm: whether a trained LayerNorm stands before the ReLU.
    """

    bank_down: Tensor
    bank_up: Tensor | None
    bank_down_bias: Tensor | None
    bank_up_bias: Tensor | None

    def __init__(self, mask_down: Mask, mask_up: Mask, bank: Bank, inner_layer_norm: bool = False) -> None:
        super().__init__()
        self.mask_down, self.mask_up = mask_down, mask_up
        self.norm = nn.LayerNorm(bank.down.size(1)) if inner_layer_norm else nn.Identity()
        self.register_buffer("bank_down", bank.down, persistent=False)
        self.register_buffer("bank_up", bank.up, persistent=False)
        self.register_buffer("bank_down_bias", bank.down_bias, persistent=False)
        self.register_buffer("bank_up_bias", bank.up_bias, persistent=False)
        self._kept: _Kept | None = None

    def form(self) -> Formed:
        """Return the adapter that the masks select now."""
        _, bottleneck, width = self.bank_down.shape
        down, up = (mask().to(self.bank_down.dtype) for mask in (self.mask_down, self.mask_up))
        # As a product over the flattened bank: one pass over its bytes forward, one backward.
        a = (down @ self.bank_down.flatten(1)).view(bottleneck, width)
        if self.bank_up is None:
            b = (up @ self.bank_down.flatten(1)).view(bottleneck, width).transpose(0, 1)
        else:
            b = (up @ self.bank_up.flatten(1)).view(width, bottleneck)
        return Formed(
            a,
            b,
            None if self.bank_down_bias is None else down @ self.bank_down_bias,
            None if self.bank_up_bias is None else up @ self.bank_up_bias,
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., d)."""
        formed = self._formed()
        inner = self.norm(nn.functional.linear(hidden, formed.down, formed.down_bias))
        return nn.functional.linear(torch.relu(inner), formed.up, formed.up_bias)

    def _formed(self) -> Formed:
        logits = (self.mask_down.logits, self.mask_up.logits)
        # Values from outside, as in torch.func, are no parameters: of them nothing is kept.
        own = all(isinstance(one, nn.Parameter) and not one.is_inference() for one in logits)
        if self.training or torch.is_grad_enabled() or not own:
            self._kept = None
            return self.form()
        if self._kept is None or not self._holds(self._kept, logits):
            self._kept = _Kept(self.form(), logits, _places(logits), self.bank_down)
        return self._kept.formed

    def _holds(self, kept: _Kept, logits: tuple[Tensor, ...]) -> bool:
        return (
            all(one is before for one, before in zip(logits, kept.logits, strict=True))
            and _places(logits) == kept.places
            and self.bank_down is kept.bank
        )


def _places(tensors: tuple[Tensor, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((one.data_ptr(), one._version) for one in tensors)


class SelectedAdapterChange(InsertedModule):
    """An inserted `SelectedAdapter`, of which a task stores the masks alone.

    Args:
        handle: the part on which the adapter hangs.
        adapter: the selecting adapter.
        bank_name: what is stored of the bank for all tasks, if it can be drawn again; else the whole
            bank is stored.
    """

    def __init__(self, handle: Handle, adapter: SelectedAdapter, bank_name: Mapping[str, Tensor]) -> None:
        super().__init__(handle, adapter, between_norms(adapter))
        self.adapter = adapter
        self.bank_name = dict(bank_name)

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

    def invalidate(self) -> None:
        """Sum the selected adapters again in the next pass."""
        self.adapter._kept = None

    def values_of(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits (P, N) that the stacked states of P tasks stand for."""
        return {f"{name}.logits": mask.logits_of(states[name]) for name, mask in self._masks.items()}

    def shared(self) -> dict[str, Tensor]:
        """Return the trained bank, or the name of a drawn one, which is the same in all blocks."""
        return self.bank_name or super().shared()
