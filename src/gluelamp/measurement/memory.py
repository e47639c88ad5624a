"""The most memory that inference and a training step take, each in a process of its own."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as validated
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.hardware import choose_device, device_name, peak_memory, reset_peak_memory
from gluelamp.measurement.kind import Cell, Kind, Row, Subject
from gluelamp.measurement.states import backward, build_bare, build_states, random_inputs
from gluelamp.methods.adaptation import Adaptation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Inputs = dict[str, Tensor]

_TRAINING = "training"
_M_MMAP_THRESHOLD = -3  # of glibc's mallopt


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Memory(Kind):
    """Measures the peak memory of passes in fp32 on a backbone of random weights.

    A cell has a row for each state: a forward pass in inference mode of ``base`` (the bare backbone),
    ``unmerged`` and, if the method can be merged, ``merged``; and ``training``, two steps forward,
    backward and of AdamW over all tokens, the second of which finds the optimiser's state in place.

    ``model_bytes`` are those of the model's tensors. ``step_bytes`` come on top at the peak: activations,
    gradients, the optimiser's state and the libraries' buffers. On a CPU they are the peak of the process's
    resident set less the resident set before the step; on a GPU the peak of what torch has allocated, less
    what it had.

    Args:
        batches: examples a pass; each with each of ``lengths``.
        lengths: tokens an example.
        device: ``auto`` takes a GPU if there is one.
    """

    batches: tuple[PositiveInt, ...] = Field(default=(8,), min_length=1)
    lengths: tuple[PositiveInt, ...] = Field(default=(128,), min_length=1)
    device: str = "auto"

    def setting(self, subject: Subject) -> dict[str, Any]:
        """Return the options, and the device that they came to."""
        chosen = {"device": _name(choose_device(self.device)), "train_pooler": subject.train_pooler}
        return asdict(self) | chosen

    def cells(self, rows: Sequence[Row]) -> list[Cell]:
        """Return each batch size with each length."""
        return [{"batch": batch, "length": length} for batch, length in product(self.batches, self.lengths)]

    def measure(self, subject: Subject, cells: Sequence[Cell]) -> Iterator[list[Row]]:
        """Measure each state in a fresh process."""
        device = choose_device(self.device)
        with torch.device("meta"):
            states = [*build_states(subject.backbone, subject.method), _TRAINING]
        for cell in cells:
            yield [_in_fresh_process(subject, state, device, **cell) for state in states]

    def line(self, row: Row) -> str:
        """Return the bytes of one state."""
        return (
            f"{row['state']}, batch {row['batch']}, length {row['length']}: {row['step_bytes']:,} bytes on "
            f"top of the model's {row['model_bytes']:,}, on {row['device']}"
        )


def _in_fresh_process(subject: Subject, state: str, device: torch.device, batch: int, length: int) -> Row:
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(measure_memory, subject, state, device, batch, length).result()
    except BrokenProcessPool as error:
        raise InputError(
            f"The process that measured the memory of {state!r} at batch {batch} and length {length} was "
            "killed, most likely because there was none left. Take smaller memory.batches or memory.lengths."
        ) from error


def measure_memory(subject: Subject, state: str, device: torch.device, batch: int, length: int) -> Row:
    """Return the row of one state; only right in a process that has done nothing else.

    Args:
        subject: what to measure.
        state: one of those that `Memory` names.
        device: where.
        batch: examples a pass.
        length: tokens an example.

    Raises:
        InputError: if the method cannot serve this architecture, size or length.
    """
    return_freed_memory()
    model, run = _passes(subject, state, device)
    inputs = random_inputs(model, batch, length)
    run(random_inputs(model, 1, 2))  # libraries make their buffers, which stay
    gc.collect()
    return {
        "state": state,
        "device": _name(device),
        "dtype": "float32",
        "batch": batch,
        "length": length,
        "model_bytes": sum(value.nbytes for value in (*model.parameters(), *model.buffers())),
        "step_bytes": rise_of_peak(lambda: run(inputs), device),
    }


def _name(device: torch.device) -> str:
    """The type, and of a GPU its own name: on another one libraries may take other buffers."""
    return device.type if device.type == "cpu" else f"{device.type} ({device_name(device)})"


def _passes(
    subject: Subject, state: str, device: torch.device
) -> tuple[PreTrainedModel, Callable[[Inputs], None]]:
    bare = build_bare(subject.backbone)
    if state == "base":
        return _inference(bare, device)
    adaptation = subject.method.adapt(bare, subject.train_pooler)
    if state == _TRAINING:
        return _training(adaptation, device)
    return _inference(adaptation.merge() if state == "merged" else adaptation.model, device)


def _inference(
    model: PreTrainedModel, device: torch.device
) -> tuple[PreTrainedModel, Callable[[Inputs], None]]:
    @torch.inference_mode()
    def run(inputs: Inputs) -> None:
        model(**inputs)

    return model.eval().to(device), run


def _training(
    adaptation: Adaptation, device: torch.device
) -> tuple[PreTrainedModel, Callable[[Inputs], None]]:
    model = adaptation.model.to(device)  # type: ignore[arg-type]  # the method loses its signature
    values = [*adaptation.trainable.values(), *adaptation.head.values()]

    def run(inputs: Inputs) -> None:
        optimiser = torch.optim.AdamW(values, fused=True)  # as the trainer
        for _ in range(2):  # the second finds the optimiser's state in place
            backward(adaptation, inputs)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    return model, run


def rise_of_peak(step: Callable[[], object], device: torch.device) -> int:
    """Return by how many bytes a step lifts the peak memory over what is in use before it."""
    reset_peak_memory(device)
    before = int(peak_memory(device)["peak_bytes"])
    step()
    return int(peak_memory(device)["peak_bytes"]) - before


def return_freed_memory() -> None:
    """Let freed tensors go back to the system at once, so that a later step cannot hide in their place.

    This is glibc's option; other C libraries have none, and there a step may look smaller than it is.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
