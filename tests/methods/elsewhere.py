"""Each method's training pass on a device that is not the CPU, without such a device.

Torch lets Python register a device. Tensors of `FakeTensorMode` on it have shapes and types but no values: an
operation on tensors of two devices fails as on a GPU, and so does reading a value. The registration cannot
be undone, so this runs in a separate process and prints its results.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from gluelamp.cli.app import plain
from gluelamp.experiments.config import parse_method
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phases import untrained_selection
from gluelamp.package_data import CONFIGS
from methods.cases import adapt, labels, logits_of
from methods.rows import ROWS, Row
from tiny_models import batch, tiny

DEVICE = "elsewhere:0"


class OnTheCPU(TorchDispatchMode):
    """Collects the operations that read or write a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, out)) if isinstance(one, Tensor)]
        if any(one.device.type == "cpu" for one in tensors):
            self.operations.add(str(func))
        return out


def moved(mode: FakeTensorMode, value: Tensor) -> Tensor:
    """Return a tensor of the same shape and type on the fake device."""
    if isinstance(value, FakeTensor):
        return value
    fake = FakeTensor(mode, value.detach().to("meta"), torch.device(DEVICE))
    return nn.Parameter(fake, value.requires_grad) if isinstance(value, nn.Parameter) else fake


def pass_elsewhere(adaptation: Adaptation) -> set[str]:
    """Run forward and backward on the device; return the operations that touched the CPU."""
    mode = FakeTensorMode()
    model = adaptation.model.train()
    model._apply(lambda value: moved(mode, value))
    inputs = {name: moved(mode, value) for name, value in batch().items()}
    targets = moved(mode, labels())
    with mode, OnTheCPU() as watch:
        loss = adaptation.objective(
            partial(logits_of, model, inputs), partial(functional.cross_entropy, target=targets)
        )
        loss.backward()
    return watch.operations


def found(row: Row) -> list[str] | str:
    """Return the operations of a row's pass that touched the CPU, or the error that ended it."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        fields = ["+seed=0", *(f"method.{override}" for override in row.overrides)]
        method = parse_method(plain(compose(f"method/{row.config}", overrides=fields))["method"])
    bare = tiny("bert")
    selection = untrained_selection(method, bare)
    try:
        return sorted(pass_elsewhere(adapt(method, bare, seed=0, selection=selection)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def register_device() -> None:
    """Register the device, which has no random state to fork."""
    fork = torch.random.fork_rng
    _setup_privateuseone_for_python_backend(DEVICE.partition(":")[0])
    torch.random.fork_rng = lambda *_, **__: fork(devices=[])  # type: ignore[assignment]
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # else a parameter keeps its device


def main() -> None:
    """Print what was found, by row."""
    rows = {row.config: row for row in reversed(ROWS) if row.config != "peft"}
    register_device()
    json.dump({name: found(row) for name, row in rows.items()}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # autograd's thread of the device asks for Python while it ends, and at times aborts


if __name__ == "__main__":
    main()
