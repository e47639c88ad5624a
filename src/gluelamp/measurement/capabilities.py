"""What a method can do, found out by trying it: nothing here is taken from what it says of itself.

Each probe adapts a copy of a bare model of random weights, and moves the adaptation's values at random
in place of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.errors import InputError
from gluelamp.measurement.bench import Bench
from gluelamp.measurement.flops import forward_flops
from gluelamp.measurement.states import move, moved, random_inputs
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.base import Method
from gluelamp.methods.storage import count_bytes

MERGE_TOLERANCE = 1e-5
"""Outputs of a merged model may differ from the unmerged one's by that much, in fp32."""

LENGTH = 64
"""Tokens of the one sequence that every probe reads."""

_SEED = 0


@dataclass(frozen=True)
class Merged:
    """What a merged model is like.

    Args:
        agrees: whether its outputs are those of the unmerged model, to `MERGE_TOLERANCE`.
        extra_flops_pct: FLOPs of a pass beyond the bare backbone's, in percent of these.
    """

    agrees: bool
    extra_flops_pct: float


@dataclass(frozen=True)
class Capabilities:
    """What was found about one method.

    Args:
        merged: None if the method refuses to be merged.
        detaches_exactly: see `detaches_exactly`.
        swaps_in_place: see `swaps_in_place`.
        stored_bytes: of each task, without its head.
        shared_bytes: of all tasks together.
        extra_flops_pct: as in `Merged`, of the unmerged model.
        phases: what is learnt about a task before the method's own training.
        tasks: of ``classification`` and ``regression``, why the method refuses it, or None.
        architectures: of each architecture, why the method refuses it, or None.
    """

    merged: Merged | None
    detaches_exactly: bool
    swaps_in_place: bool
    stored_bytes: int
    shared_bytes: int
    extra_flops_pct: float
    phases: int
    tasks: Mapping[str, str | None]
    architectures: Mapping[str, str | None]


def find_capabilities(method: Method, bench: Bench) -> Capabilities:
    """Return what a method can do, by trying it; equal inputs give equal findings.

    Args:
        method: the recipe.
        bench: the method must serve its full and its small model.

    Raises:
        InputError: if it does not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        adaptation = method.adapt(deepcopy(bench.full))
        size = count_bytes(adaptation)
        return Capabilities(
            merged=merge(method, bench.small),
            detaches_exactly=detaches_exactly(method, bench.small),
            swaps_in_place=swaps_in_place(method, bench.small),
            stored_bytes=size["method"],
            shared_bytes=size["shared"],
            extra_flops_pct=extra_flops_pct(adaptation.model, bench.full),
            phases=len(method.phases()),
            tasks={
                "classification": _refusal(lambda: method.check_task("classification")),
                "regression": _refusal(lambda: method.check_task("regression")),
            },
            architectures={shell.config.model_type: refuses_model(method, shell) for shell in bench.shells},
        )


def merge(method: Method, bare: PreTrainedModel) -> Merged | None:
    """Merge an adaptation whose values moved, and compare; None if it refuses.

    Args:
        method: the recipe.
        bare: stays as it is, here and in the other probes.
    """
    adaptation = moved(method, bare)
    before = _outputs(adaptation.model)
    try:
        model = adaptation.merge()
    except InputError:
        return None
    agrees = torch.allclose(_outputs(model), before, rtol=0, atol=MERGE_TOLERANCE)
    return Merged(agrees, extra_flops_pct(model, bare))


def detaches_exactly(method: Method, bare: PreTrainedModel) -> bool:
    """Whether a detached model has the bare one's tensors and outputs, bit for bit."""
    adaptation = moved(method, bare)
    _outputs(adaptation.model)  # a method that works in place writes its values in a pass
    model = adaptation.detach()
    now, before = model.state_dict(), bare.state_dict()
    return (
        now.keys() == before.keys()
        and all(_same_bits(value, before[name]) for name, value in now.items())
        and _same_bits(_outputs(model), _outputs(bare))
    )


def swaps_in_place(method: Method, bare: PreTrainedModel) -> bool:
    """Whether one adaptation gives each of two tasks' outputs again after loading its state."""
    adaptation = moved(method, bare)
    tasks = [_snapshot(adaptation)]
    move(adaptation)
    tasks.append(_snapshot(adaptation))
    for state, outputs in tasks:
        adaptation.load_task_state(state)
        if not _same_bits(_outputs(adaptation.model), outputs):
            return False
    return True


def extra_flops_pct(model: PreTrainedModel, bare: PreTrainedModel) -> float:
    """Return the FLOPs of a model's pass beyond the bare one's, in percent of these.

    Args:
        model: adapted or merged.
        bare: its backbone.
    """
    inputs = random_inputs(bare, 1, LENGTH)
    own, base = (forward_flops(one.eval(), inputs) for one in (model, bare))
    return 100 * (own - base) / base


def refuses_model(method: Method, model: PreTrainedModel) -> str | None:
    """Return why a method cannot be applied to a model, or None if it can.

    Args:
        method: the recipe.
        model: stays as it is; its values are not needed.
    """
    with torch.device(model.device):
        return _refusal(lambda: method.adapt(deepcopy(model)))


def _refusal(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except InputError as error:
        return str(error)
    return None


def _snapshot(adaptation: Adaptation) -> tuple[dict[str, Tensor], Tensor]:
    state = {name: value.clone() for name, value in adaptation.task_state().items()}
    return state, _outputs(adaptation.model)


@torch.no_grad()
def _outputs(model: PreTrainedModel) -> Tensor:
    return model.eval()(**random_inputs(model, 1, LENGTH)).logits


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are the same; unlike ``torch.equal``, 0.0 is not -0.0."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    raw = (value.detach().contiguous().view(-1).view(torch.uint8) for value in (first, second))
    return torch.equal(*raw)
