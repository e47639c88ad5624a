"""The modules of X-PEFT: a mask over N given adapters, and the adapter that two masks select."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import Handle
from gluelamp.errors import InputError
from gluelamp.methods.changes.change import Fp32Module
from gluelamp.methods.changes.forms import Projections
from gluelamp.methods.changes.inserted import Adapter, InsertedModule, between_norms
from gluelamp.methods.xpeft_bank import Bank


class Mask(Fp32Module):
    """Weights over N adapters, from trained logits, in fp32.

    Args:
        size: N.
        top_k: how many adapters a hard mask selects; None makes the mask soft.
        divides: whether a hard mask's weights are 1 / k, not 1.
        gumbel_tau: temperature of Gumbel noise on the logits of a hard mask in training; 0 is none.
        init_std: standard deviation of the logits at the start.
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
            # Gumbel noise: -log(-log u). The smallest positive number avoids log(0).
            uniform = torch.rand_like(logits).clamp_min(torch.finfo(logits.dtype).tiny)
            logits = (logits - torch.log(-torch.log(uniform))) / self.gumbel_tau
        # k ones at the largest logits.
        soft = torch.softmax(logits, dim=0)
        hard = torch.zeros_like(soft).scatter(0, logits.topk(self.top_k).indices, 1.0)
        if self.divides:
            hard = hard / self.top_k
        # Straight-through estimator: the value of the hard mask, the gradient of the softmax.
        return hard + (soft - soft.detach())

    def stored(self) -> Tensor:
        """Return the logits, or the selected adapters as ceil(N / 8) bytes, the first in the highest bit."""
        logits = self.logits.detach()
        if self.top_k is None:
            return logits
        # Padded with zeros to whole bytes.
        bits = logits.new_zeros(len(logits) + -len(logits) % 8)
        bits.scatter_(0, logits.topk(self.top_k).indices, 1.0)
        return (bits.view(-1, 8) @ 2.0 ** _bit_numbers(bits)).to(torch.uint8)

    def load(self, stored: Tensor) -> None:
        """Load what `stored` returned; as for `logits_from_stored`."""
        with torch.no_grad():
            self.logits.copy_(self.logits_from_stored(stored))

    def logits_from_stored(self, stored: Tensor) -> Tensor:
        """Return logits (..., N) of the masks that `stored` returned; bits become logits of 1 and 0.

        Args:
            stored: one mask, or stacked ones of several profiles (..., bytes).

        Raises:
            InputError: if the stored masks select another number of adapters than this mask.
        """
        if self.top_k is None:
            return stored
        # Each byte becomes eight bits, the highest first, and the padding at the end is cut off.
        bits = stored.unsqueeze(-1) >> _bit_numbers(stored) & 1
        selected = bits.flatten(-2)[..., : len(self.logits)]
        numbers = selected.sum(-1)
        if wrong := numbers[numbers != self.top_k].tolist():
            raise InputError(
                f"The task state's masks select {wrong[0]} adapters, but method.top_k="
                f"{self.top_k}. Load it with the configuration of its run."
            )
        return selected.to(self.logits.dtype)


def _bit_numbers(like: Tensor) -> Tensor:
    return torch.arange(7, -1, -1, dtype=like.dtype, device=like.device)


class SummedAdapter(NamedTuple):
    """The adapter that two masks select: A (b, d) and B (d, b), with biases if the bank has any."""

    down: Tensor
    up: Tensor
    down_bias: Tensor | None
    up_bias: Tensor | None


class _Cache(NamedTuple):
    """A summed adapter, and the tensors and their versions from which it was computed."""

    adapter: SummedAdapter
    tensors: tuple[Tensor, ...]
    versions: list[tuple[int, int]]


class SelectedAdapter(Adapter):
    """``B relu(A h + a) + c`` with A, B and the biases a, c the masked sums over the bank.

    In evaluation without gradients the sums are computed once and cached, so that a pass costs as much as
    with one ordinary adapter. After a write into the logits that torch does not count as a version, such as
    one through ``.data``, call `invalidate`.

    Args:
        mask_down: weights of the down-projections.
        mask_up: weights of the up-projections.
        bank: the given adapters.
        inner_layer_norm: whether a trained LayerNorm is applied before the ReLU.
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
        self._cache: _Cache | None = None

    def summed(self) -> SummedAdapter:
        """Return the adapter that the masks select now."""
        _, bottleneck, width = self.bank_down.shape
        down, up = (mask().to(self.bank_down.dtype) for mask in (self.mask_down, self.mask_up))
        # As a vector times the flattened bank: it is read once forward and once backward.
        a = (down @ self.bank_down.flatten(1)).view(bottleneck, width)
        if self.bank_up is None:
            b = (up @ self.bank_down.flatten(1)).view(bottleneck, width).transpose(0, 1)
        else:
            b = (up @ self.bank_up.flatten(1)).view(width, bottleneck)
        return SummedAdapter(
            a,
            b,
            None if self.bank_down_bias is None else down @ self.bank_down_bias,
            None if self.bank_up_bias is None else up @ self.bank_up_bias,
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., d)."""
        adapter = self._current()
        inner = self.norm(nn.functional.linear(hidden, adapter.down, adapter.down_bias))
        return nn.functional.linear(torch.relu(inner), adapter.up, adapter.up_bias)

    def projections(self) -> Projections | None:
        """Return the adapter that the masks select: the masks themselves are not part of it."""
        if isinstance(self.norm, nn.LayerNorm):
            return None
        down, up, down_bias, up_bias = self.summed()
        down_bias = down.new_zeros(len(down)) if down_bias is None else down_bias
        up_bias = up.new_zeros(len(up)) if up_bias is None else up_bias
        return Projections(down, down_bias, up, up_bias, "relu")

    def invalidate(self) -> None:
        """Sum the selected adapters again in the next pass."""
        self._cache = None

    def _current(self) -> SummedAdapter:
        tensors = (self.mask_down.logits, self.mask_up.logits, self.bank_down)
        # torch.func.functional_call replaces the parameters by plain tensors for one pass. Inference tensors
        # have no version. Values with a gradient may be changed by a fused step, which torch does not count.
        # None of them may enter the cache.
        cacheable = all(
            isinstance(one, nn.Parameter) and not one.is_inference() and one.grad is None
            for one in tensors[:2]
        )
        if self.training or torch.is_grad_enabled() or not cacheable:
            self.invalidate()
            return self.summed()
        # The pointer differs after a move to another device or type, the version after an in-place write.
        versions = [(one.data_ptr(), one._version) for one in tensors]
        cache = self._cache
        if cache is None or versions != cache.versions or any(map(operator.is_not, tensors, cache.tensors)):
            self._cache = cache = _Cache(self.summed(), tensors, versions)
        return cache.adapter


class SelectedAdapterChange(InsertedModule):
    """An inserted `SelectedAdapter`, of which a task stores the masks alone.

    Args:
        handle: the part whose forward hook runs the adapter.
        adapter: the selecting adapter.
        seed_specification: what is stored of a random bank, once for all tasks. Empty for a trained bank,
            which is stored in full.
    """

    def __init__(
        self, handle: Handle, adapter: SelectedAdapter, seed_specification: Mapping[str, Tensor]
    ) -> None:
        super().__init__(handle, adapter, between_norms(adapter))
        self.adapter = adapter
        self.seed_specification = dict(seed_specification)

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
        """Load what `state` returned."""
        for name, mask in self._masks.items():
            mask.load(state[name])
        with torch.no_grad():
            for name, value in self.parameters().items():
                if ".norm." in name:
                    value.copy_(state[name])

    def invalidate(self) -> None:
        """Sum the selected adapters again in the next pass."""
        self.adapter.invalidate()

    def values_from_states(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits (P, N) for the stacked states of P tasks."""
        return {f"{name}.logits": mask.logits_from_stored(states[name]) for name, mask in self._masks.items()}

    def shared(self) -> dict[str, Tensor]:
        """Return the trained bank, or the seed specification of a random one, equal in all blocks."""
        return self.seed_specification or super().shared()
