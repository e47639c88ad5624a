"""bf16 passes with fp32 trained values.

Frozen weights are held in bf16. Each trained value exists twice: the fp32 master, which the optimiser
moves, and its bf16 copy in the model, which the passes read. The head, and every
`Fp32Module`, stays in fp32, as do the frequencies of rotary positions.
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


def products(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which a device multiplies numbers of a type as fast as it can.

    PyTorch's products of bf16 matrices are far slower than those of fp32 on a CPU without instructions for
    them. There they are taken in fp32 and rounded to bf16, as bf16 instructions do, too: they also sum
    in fp32 and round once. Their gradients come out likewise.

    Args:
        dtype: of the passes.
        device: where they take place.
    """
    slow = dtype == torch.bfloat16 and device.type == "cpu" and not multiplies_bf16(device)
    return _ProductsByFp32() if slow else nullcontext()


class _ProductsByFp32(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not _are_bf16([*args, *kwargs.values()]):
            return func(*args, **kwargs)
        named = {name: _widened(value) for name, value in kwargs.items()}
        return func(*map(_widened, args), **named).to(torch.bfloat16)


def _are_bf16(values: Iterable[Any]) -> bool:
    """Return whether the floating-point tensors among some values are bf16, and none of another type."""
    found = {x.dtype for x in values if torch.is_tensor(x) and x.is_floating_point()}
    return found == {torch.bfloat16}


def _widened(value: Any) -> Any:
    return value.float() if torch.is_tensor(value) and value.dtype == torch.bfloat16 else value


class MasterWeights:
    """The fp32 masters of some trained parameters of a model.

    Args:
        model: cast in place, except for the head, every `Fp32Module` and rotary frequencies.
        trained: the trained parameters, in fp32.
        dtype: of the passes. With fp32 the masters are the parameters themselves.
    """

    def __init__(self, model: PreTrainedModel, trained: Iterable[nn.Parameter], dtype: torch.dtype) -> None:
        self.live = list(trained)
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
        for parameter, master, copied in self._triples():
            if copied:
                master.grad = None if parameter.grad is None else parameter.grad.float()
                parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the model."""
        pairs = [(p, m) for p, m, copied in self._triples() if copied]
        if pairs:
            torch._foreach_copy_([p for p, _ in pairs], [m for _, m in pairs])

    @contextmanager
    def exposed(self, values: Iterable[Tensor] | None = None) -> Iterator[None]:
        """Let the model's parameters be fp32 values, for reading what to store.

        Args:
            values: of each trained parameter; the masters by default.
        """
        before = [parameter.data for parameter in self.live]
        for parameter, value in zip(self.live, values or self.masters, strict=True):
            parameter.data = value.data
        try:
            yield
        finally:
            for parameter, data in zip(self.live, before, strict=True):
                parameter.data = data

    def _triples(self) -> Iterable[tuple[nn.Parameter, Tensor, bool]]:
        return zip(self.live, self.masters, self._copied, strict=True)


def _cast(module: nn.Module, dtype: torch.dtype, in_fp32: set[int]) -> None:
    if id(module) in in_fp32 or isinstance(module, Fp32Module):
        module.register_forward_pre_hook(_inputs_to_fp32)
        return
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
    for name, buffer in module.named_buffers(recurse=False):
        # The rounding of rotary frequencies would grow with the position; transformers names them so.
        if buffer.is_floating_point() and not name.endswith("inv_freq"):
            module._buffers[name] = buffer.to(dtype)
    for child in module.children():
        _cast(child, dtype, in_fp32)


def _inputs_to_fp32(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.float() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs)
