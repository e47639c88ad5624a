"""The operators of one forward pass: two models with the same list do the same work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Layout(NamedTuple):
    """What of a tensor decides the price of an operator on it."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Operator(NamedTuple):
    """One call: the name, such as ``aten.addmm.default``, and the tensors it read and returned."""

    name: str
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators.append(Operator(str(func), _layouts((args, kwargs)), _layouts(result)))
        return result


def _layouts(nested: object) -> tuple[Layout, ...]:
    return tuple(
        Layout(tuple(leaf.shape), leaf.stride(), leaf.dtype)
        for leaf in tree_leaves(nested)
        if isinstance(leaf, Tensor)
    )


def trace_operators(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Operator]:
    """Return the operators of one forward pass without gradients, in their order.

    Works on the meta device too, where a pass of a large model costs nothing.

    Args:
        model: in the mode (training or evaluation) to look at.
        inputs: keyword arguments of the pass.
    """
    with torch.no_grad(), _Recorder() as recorder:
        model(**inputs)
    return recorder.operators


def same_operators(model: nn.Module, other: nn.Module, inputs: Mapping[str, Tensor]) -> bool:
    """Return whether two models run the same operators, on tensors of the same shape and type.

    Args:
        model: the one.
        other: the other.
        inputs: keyword arguments of both passes.
    """
    return trace_operators(model, inputs) == trace_operators(other, inputs)
