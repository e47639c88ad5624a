"""The structure of two models, compared: modules, tensors, operators of a forward pass, and FLOPs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gluelamp.measurement.flops import forward_flops


class Layout(NamedTuple):
    """The properties of a tensor that determine what an operator on it costs."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Operator(NamedTuple):
    """One call of an operator: its name, such as ``aten.addmm.default``, its inputs and its outputs."""

    name: str
    inputs: tuple[Layout, ...]
    outputs: tuple[Layout, ...]


def trace_operators(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Operator]:
    """Return the operators of one forward pass without gradients, in order.

    Also works on the meta device, where a pass of a large model costs nothing.

    Args:
        model: in the mode (training or evaluation) to trace.
        inputs: keyword arguments of the pass.
    """
    with torch.no_grad(), _Recorder() as recorder:
        model(**inputs)
    return recorder.operators


# A dispatch mode sees every operator that a module calls, also inside hooks and functions of transformers.
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
        # Called for each operator below autograd, so views and in-place operators are recorded, too.
        result = func(*args, **(kwargs or {}))
        self.operators.append(Operator(str(func), _layouts((args, kwargs)), _layouts(result)))
        return result


def _layouts(nested: object) -> tuple[Layout, ...]:
    return tuple(
        Layout(tuple(value.shape), value.stride(), value.dtype)
        for value in tree_leaves(nested)
        if isinstance(value, Tensor)
    )


def compare_structure(base: nn.Module, candidate: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the modules, tensors, operators and FLOPs of two models side by side, as plain values.

    Args:
        base: the bare backbone, in evaluation mode.
        candidate: the model that is compared with it.
        inputs: keyword arguments of the pass.

    Returns:
        ``modules``, ``tensors`` (parameters and buffers with shape, stride and type) and ``operators``
        (the aten operators in order, with the layouts of their inputs and outputs). Each holds the numbers
        in ``base`` and ``candidate``, their ``sha256``, and the ``first_difference`` as a sentence or None.
        ``operators`` also holds the ``surplus`` and the ``missing`` operators by name. ``flops`` holds the
        FLOPs of the pass.
    """
    # Operators are compared with the layouts of their tensors: a transposed weight needs another kernel.
    traces = [trace_operators(model, inputs) for model in (base, candidate)]
    # The difference of two counters has only the positive counts.
    names = [Counter(operator.name for operator in trace) for trace in traces]
    return {
        "modules": _compare(*(_describe_modules(model) for model in (base, candidate))),
        "tensors": _compare(*(_describe_tensors(model) for model in (base, candidate))),
        "operators": _compare(*(_describe_operators(trace) for trace in traces))
        | {"surplus": dict(names[1] - names[0]), "missing": dict(names[0] - names[1])},
        "flops": {
            "base": forward_flops(base, inputs),
            "candidate": forward_flops(candidate, inputs),
        },
    }


def structure_reasons(comparison: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each item of `compare_structure` that differs."""
    reasons = [
        f"The {item} differ ({comparison[item]['candidate']:,} here, {comparison[item]['base']:,} in the "
        f"bare backbone): {comparison[item]['first_difference']}"
        for item in ("modules", "tensors", "operators")
        if comparison[item]["first_difference"]
    ]
    base, candidate = comparison["flops"]["base"], comparison["flops"]["candidate"]
    if base != candidate:
        reasons.append(f"A pass takes {candidate:,} FLOPs, and one of the bare backbone {base:,}.")
    return reasons


def _describe_modules(model: nn.Module) -> list[str]:
    return sorted(
        f"{name or 'the model itself'} is a {type(module).__qualname__}"
        for name, module in model.named_modules()
    )


def _describe_tensors(model: nn.Module) -> list[str]:
    # Sorted, since a merge registers a parameter again, after the unchanged ones.
    return sorted(
        f"{name} is {value.dtype} of shape {tuple(value.shape)} and stride {value.stride()}"
        for name, value in (*model.named_parameters(), *model.named_buffers())
    )


def _describe_operators(trace: Sequence[Operator]) -> list[str]:
    def text(layouts: Sequence[Layout]) -> str:
        return "(" + ", ".join(f"{one.dtype}{list(one.shape)}/{list(one.stride)}" for one in layouts) + ")"

    return [
        f"operator {number} is {name} from {text(inputs)} to {text(outputs)}"
        for number, (name, inputs, outputs) in enumerate(trace, start=1)
    ]


def _compare(base: Sequence[str], candidate: Sequence[str]) -> dict[str, Any]:
    # The hashes let a reader of the certificate compare the lists, which are too long to store.
    # Where one list is longer, its next entry is compared with "nothing".
    pairs = zip_longest(base, candidate, fillvalue="nothing")
    first = next(((old, new) for old, new in pairs if old != new), None)
    return {
        "base": len(base),
        "candidate": len(candidate),
        "sha256": {
            name: hashlib.sha256("\n".join(lines).encode()).hexdigest()
            for name, lines in (("base", base), ("candidate", candidate))
        },
        "first_difference": first and f"{first[1]}, where the bare backbone has: {first[0]}.",
    }
