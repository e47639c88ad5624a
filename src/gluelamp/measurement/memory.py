"""Peak memory of inference and of a training step, each measured in its own process."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.hardware import choose_device, device_name, peak_memory, reset_peak_memory
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, Part, Row
from gluelamp.measurement.models import backward, build_bare, build_states, random_inputs
from gluelamp.methods.phases import adapt_untrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Inputs = dict[str, Tensor]

_TRAINING = "training"
# A constant of mallopt in glibc's malloc.h.
_M_MMAP_THRESHOLD = -3


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Memory(MeasurementKind):
    """Measure the peak memory of fp32 passes, on a backbone of random weights.

    Each part has one row per state: a forward pass in inference mode of ``base`` (the bare backbone),
    ``unmerged`` and, if the method merges, ``merged``; and ``training``, two steps of forward, backward and
    AdamW over all tokens. The first step allocates the optimiser's state, the second runs with it.

    ``model_bytes`` is the size of the model's tensors. ``step_bytes`` is the additional memory at the peak:
    activations, gradients, the optimiser's state and the buffers of libraries. On a CPU it is the peak
    resident set of the process minus the resident set before the step. On a GPU it is the peak of torch's
    allocations minus the allocations before the step.

    Args:
        batches: numbers of examples per pass.
        lengths: tokens per example; every batch size is measured at every length.
        device: ``auto`` is a GPU if there is one.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(8,), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(128,), min_length=1)
    device: str = "auto"

    def settings(self, model: MeasuredModel) -> dict[str, Any]:
        """Return the options, with the device of this machine."""
        return super().settings(model) | {"device": _describe(choose_device(self.device))}

    def parts(self, rows: Sequence[Row]) -> list[Part]:
        """Return every combination of batch size and length."""
        return [{"batch": batch, "length": length} for batch, length in product(self.batches, self.lengths)]

    def measure(self, model: MeasuredModel, parts: Sequence[Part]) -> Iterator[list[Row]]:
        """Measure each state in a new process."""
        device = choose_device(self.device)
        # Only the names of the states are needed here; each process builds its own model.
        with torch.device("meta"):
            states = [*build_states(model.backbone, model.method, model.head), _TRAINING]
        for part in parts:
            yield [measure_in_new_process(model, state, device, **part) for state in states]

    def summarise(self, row: Row) -> str:
        """Return the bytes of one state."""
        return (
            f"{row['state']}, batch {row['batch']}, length {row['length']}: {row['step_bytes']:,} bytes on "
            f"top of the model's {row['model_bytes']:,}, on {row['device']}"
        )


def measure_in_new_process(
    model: MeasuredModel, state: str, device: torch.device, batch: int, length: int
) -> Row:
    """Return the row of one state, measured in a new process.

    Args:
        model: the model under measurement.
        state: one of those that `Memory` lists.
        device: where to compute.
        batch: examples per pass.
        length: tokens per example.

    Raises:
        InputError: if the process was killed, most likely for lack of memory.
    """
    # Spawned and not forked: a forked process starts with the memory of this one, and cannot use CUDA.
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(measure_memory, model, state, device, batch, length).result()
    except BrokenProcessPool as error:
        raise InputError(
            f"The process that measured the memory of {state!r} at batch {batch} and length {length} was "
            "killed, most likely because there was none left. Take smaller memory.batches or memory.lengths."
        ) from error


def measure_memory(model: MeasuredModel, state: str, device: torch.device, batch: int, length: int) -> Row:
    """Return the row of one state. The result is only valid in a process that has done nothing else.

    Args:
        model: as for `measure_in_new_process`, like the other arguments.
        state: see there.
        device: see there.
        batch: see there.
        length: see there.

    Raises:
        InputError: if the method does not support this architecture, size or length.
    """
    return_freed_memory()
    network, run = _prepare(model, state, device)
    inputs = random_inputs(network, batch, length)
    # Libraries allocate buffers in the first pass and do not free them; they are not part of the step.
    run(random_inputs(network, 1, 2))
    gc.collect()
    return {
        "state": state,
        "device": _describe(device),
        "dtype": "float32",
        "batch": batch,
        "length": length,
        "model_bytes": sum(value.nbytes for value in (*network.parameters(), *network.buffers())),
        "step_bytes": rise_of_peak(lambda: run(inputs), device),
    }


def _describe(device: torch.device) -> str:
    # Libraries allocate other buffers on other GPUs, so the GPU's name belongs to the result.
    return device.type if device.type == "cpu" else f"{device.type} ({device_name(device)})"


def _prepare(
    model: MeasuredModel, state: str, device: torch.device
) -> tuple[PreTrainedModel, Callable[[Inputs], None]]:
    """Return the model of one state on its device, and the function that runs the measured step."""
    network = build_bare(model.backbone, model.head)
    if state != "base":
        adaptation = adapt_untrained(model.method, network)
        network = adaptation.merge() if state == "merged" else adaptation.model
    network.to(device)  # type: ignore[arg-type]  # the decorated method has no signature

    @torch.inference_mode()
    def infer(inputs: Inputs) -> None:
        network(**inputs)

    def train(inputs: Inputs) -> None:
        # Every call has a new optimiser, so the measured step allocates its own state after the warm-up.
        values = [*adaptation.trainable.values(), *adaptation.head.values()]
        optimiser = torch.optim.AdamW(values, fused=True)  # the trainer's optimiser
        for _ in range(2):
            backward(adaptation, inputs)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    return network.eval(), train if state == _TRAINING else infer


def rise_of_peak(step: Callable[[], object], device: torch.device) -> int:
    """Return by how many bytes the peak memory during a step exceeds the memory in use before it."""
    # Right after a reset, the peak is the memory in use.
    reset_peak_memory(device)
    before = int(peak_memory(device)["peak_bytes"])
    step()
    return int(peak_memory(device)["peak_bytes"]) - before


def return_freed_memory() -> None:
    """Make the C library return freed tensors to the system at once.

    Otherwise a later step could reuse freed memory, and its rise would appear smaller than it is. This is
    an option of glibc; other C libraries have none.
    """
    # An allocation of at least this size gets a memory mapping of its own, which is removed when it is freed.
    # A fixed threshold also keeps glibc from raising it after the first large tensor is freed.
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
