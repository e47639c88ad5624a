"""What two models are made of and what they do in a pass, compared part by part."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from torch import Tensor, nn

from gluelamp.measurement.flops import forward_flops
from gluelamp.measurement.operators import Operator, trace_operators

_ROOT = "the model itself"
_NOTHING = "nothing"


def compare_structure(base: nn.Module, candidate: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return modules, tensors, operators and FLOPs of two models, side by side, as plain values.

    Args:
        base: the bare backbone, in evaluation mode.
        candidate: what is compared with it.
        inputs: keyword arguments of the pass.

    Returns:
        ``modules``, ``tensors`` (parameters and buffers with shape, stride and type) and ``operators``
        (aten's, in their order, with the layouts that they read and return): the numbers in ``base`` and
        ``candidate``, their ``sha256``, and the ``first_difference`` as a sentence, or None; of operators
        also the ``surplus`` and the ``missing`` by name. ``flops``: those of the pass.
    """
    traces = [trace_operators(model, inputs) for model in (base, candidate)]
    names = [Counter(operator.name for operator in trace) for trace in traces]
    return {
        "modules": _compared(*(_modules(model) for model in (base, candidate))),
        "tensors": _compared(*(_tensors(model) for model in (base, candidate))),
        "operators": _compared(*(_lines(trace) for trace in traces))
        | {"surplus": dict(names[1] - names[0]), "missing": dict(names[0] - names[1])},
        "flops": {
            "base": forward_flops(base, inputs),
            "candidate": forward_flops(candidate, inputs),
        },
    }


def structure_reasons(found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each part of `compare_structure` that differs; none if nothing does."""
    reasons = [
        f"The {part} differ ({found[part]['candidate']:,} here, {found[part]['base']:,} in the bare "
        f"backbone): {found[part]['first_difference']}"
        for part in ("modules", "tensors", "operators")
        if found[part]["first_difference"]
    ]
    base, candidate = found["flops"]["base"], found["flops"]["candidate"]
    if base != candidate:
        reasons.append(f"A pass takes {candidate:,} FLOPs, and one of the bare backbone {base:,}.")
    return reasons


def _modules(model: nn.Module) -> list[str]:
    return sorted(f"{name or _ROOT} is a {type(one).__qualname__}" for name, one in model.named_modules())


def _tensors(model: nn.Module) -> list[str]:
    # sorted: a merge writes a parameter anew, behind those that stayed
    return sorted(
        f"{name} is {value.dtype} of shape {tuple(value.shape)} and stride {value.stride()}"
        for name, value in (*model.named_parameters(), *model.named_buffers())
    )


def _lines(trace: Sequence[Operator]) -> list[str]:
    return [
        f"operator {number} is {name} from {_layouts(inputs)} to {_layouts(outputs)}"
        for number, (name, inputs, outputs) in enumerate(trace, start=1)
    ]


def _layouts(layouts: Sequence[Any]) -> str:
    return "(" + ", ".join(f"{one.dtype}{list(one.shape)}/{list(one.stride)}" for one in layouts) + ")"


def _compared(base: Sequence[str], candidate: Sequence[str]) -> dict[str, Any]:
    pairs = zip_longest(base, candidate, fillvalue=_NOTHING)
    first = next(((old, new) for old, new in pairs if old != new), None)
    return {
        "base": len(base),
        "candidate": len(candidate),
        "sha256": {"base": _hash(base), "candidate": _hash(candidate)},
        "first_difference": first and f"{first[1]}, where the bare backbone has: {first[0]}.",
    }


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
