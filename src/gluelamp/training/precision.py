"""bf16 passes with fp32 trained values.

Frozen weights are in bf16. Each trained value exists twice: the fp32 master, which the optimiser updates,
and its bf16 copy in the model, which the passes read. Without the masters most updates would be lost: near
1, neighbouring bf16 numbers differ by 2^-7, and an update is far smaller. The head, every `Fp32Module` and
the frequencies of rotary positions are excluded from the cast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy
from gluelamp.hardware import multiplies_bf16
from gluelamp.methods.changes.change import Fp32Module

_PRODUCTS = {functional.linear, torch.bmm, torch.einsum, torch.matmul, Tensor.matmul}  # x @ y is the last


def matmul_context(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which matrix products of a type are as fast as the device allows.

    On a CPU without bf16 instructions, PyTorch's bf16 products are far slower than fp32 products. There the
    context computes them in fp32 and rounds the result to bf16. Bf16 instructions do the same: they sum in
    fp32 and round once. Gradients are computed in the same way.

    Args:
        dtype: of the passes.
        device: of the passes.
    """
    slow = dtype == torch.bfloat16 and device.type == "cpu" and not multiplies_bf16(device)
    return _Fp32Products() if slow else nullcontext()


class _Fp32Products(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS:
            return func(*args, **kwargs)
        floating = {
            x.dtype for x in (*args, *kwargs.values()) if torch.is_tensor(x) and x.is_floating_point()
        }
        if floating != {torch.bfloat16}:  # PyTorch refuses two types, here as with bf16 instructions
            return func(*args, **kwargs)
        named = {name: _to_fp32(value) for name, value in kwargs.items()}
        return func(*map(_to_fp32, args), **named).to(torch.bfloat16)


def _to_fp32(value: Any) -> Any:
    return value.float() if torch.is_tensor(value) and value.is_floating_point() else value


class MasterWeights:
    """The fp32 masters of the trained parameters of a model.

    Args:
        model: cast in place, except for the head, every `Fp32Module` and rotary frequencies.
        trained: the trained parameters, in fp32.
        dtype: of the passes. With fp32 the masters are the parameters themselves.
    """

    def __init__(self, model: PreTrainedModel, trained: Iterable[nn.Parameter], dtype: torch.dtype) -> None:
        self.live = list(trained)
        # Cloned before the cast: a master has the exact fp32 value, and not the rounded one.
        masters = [parameter.detach().clone() for parameter in self.live]
        if dtype != torch.float32:
            _cast(model, dtype, {id(part.module) for part in anatomy(model).head})
        self._copied = [p.dtype != torch.float32 for p in self.live]
        self.masters: list[Tensor] = [
            master if copied else parameter
            for parameter, master, copied in zip(self.live, masters, self._copied, strict=True)
        ]

    def gather_gradients(self) -> None:
        """Move the gradients of the passes to the masters."""
        # An optimiser step in fp32 needs fp32 gradients. The copy's gradient is removed, because the next
        # backward pass would add to it.
        for parameter, master in self._pairs():
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None

    @torch.no_grad()
    def sync(self) -> None:
        """Copy the masters into the model."""
        if pairs := self._pairs():
            torch._foreach_copy_([p for p, _ in pairs], [m for _, m in pairs])

    @contextmanager
    def fp32_values(self, values: Iterable[Tensor] | None = None) -> Iterator[None]:
        """Replace the model's parameters by fp32 values, to read what is stored.

        Args:
            values: of each trained parameter; the masters by default.
        """
        # Through `.data` the parameter objects stay the same: hooks and parametrisations refer to them.
        before = [parameter.data for parameter in self.live]
        for parameter, value in zip(self.live, values or self.masters, strict=True):
            parameter.data = value.data
        try:
            yield
        finally:
            for parameter, data in zip(self.live, before, strict=True):
                parameter.data = data

    def _pairs(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Return the parameters that are bf16 copies, each with its master."""
        triples = zip(self.live, self.masters, self._copied, strict=True)
        return [(parameter, master) for parameter, master, copied in triples if copied]


def _cast(module: nn.Module, dtype: torch.dtype, in_fp32: set[int]) -> None:
    # A module that stays in fp32 gets bf16 activations from the modules before it.
    if id(module) in in_fp32 or isinstance(module, Fp32Module):
        module.register_forward_pre_hook(_inputs_to_fp32)
        return
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
    for name, buffer in module.named_buffers(recurse=False):
        # An error in a rotary frequency grows with the position. transformers names these buffers inv_freq.
        if buffer.is_floating_point() and not name.endswith("inv_freq"):
            module._buffers[name] = buffer.to(dtype)
    for child in module.children():
        _cast(child, dtype, in_fp32)


def _inputs_to_fp32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(map(_to_fp32, inputs))
