"""What an adaptation costs to store, and its files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.io import atomic_write
from gluelamp.methods.changes.change import below
from gluelamp.methods.selection import SELECTION_PREFIX, Selection

if TYPE_CHECKING:
    from gluelamp.methods.adaptation import Adaptation


@dataclass(frozen=True)
class Summary:
    """What an adaptation trains and stores. Numbers are values and bytes of tensors.

    Args:
        method: the method with its options.
        trained: the method's trainable values, without the head.
        trained_pct: their percentage of the encoder.
        backbone: parameters of the encoder, without pooler and head.
        head: trainable values of the head.
        method_bytes: stored per task, without the head.
        head_bytes: stored per task for the head.
        shared_bytes: stored once for all tasks.
        merges: whether the method can be written into the backbone's weights.
    """

    method: str
    trained: int
    trained_pct: float
    backbone: int
    head: int
    method_bytes: int
    head_bytes: int
    shared_bytes: int
    merges: bool

    def __str__(self) -> str:
        merges = "yes, without added latency" if self.merges else "no"
        lines = [
            self.method,
            f"trained          {self.trained:,} values, {self.trained_pct:.4g} % of {self.backbone:,}",
            f"head             {self.head:,} values",
            f"stored per task  {self.method_bytes:,} bytes, and {self.head_bytes:,} of the head",
            f"shared by tasks  {self.shared_bytes:,} bytes",
            f"merges           {merges}",
        ]
        return "\n".join(lines)


def summary(adaptation: Adaptation) -> Summary:
    """Return what an adaptation trains and stores."""
    counts, sizes = count_parameters(adaptation), count_bytes(adaptation)
    return Summary(
        method=repr(adaptation.method),
        trained=int(counts["trained"]),
        trained_pct=counts["trained_pct"],
        backbone=int(counts["backbone"]),
        head=int(counts["head"]),
        method_bytes=sizes["method"],
        head_bytes=sizes["head"],
        shared_bytes=sizes["shared"],
        merges=adaptation.method.merges,
    )


def count_parameters(adaptation: Adaptation) -> dict[str, int | float]:
    """Return numbers of values, with method and head counted separately.

    Returns:
        ``trained``: the method's trainable values, without the head; ``trained_pct``: their percentage of
        the encoder; ``head``: trainable values of the head; ``backbone``: parameters of the encoder,
        without pooler and head; ``stored_values``: elements that a task stores, without the head.
    """
    trained = sum(value.numel() for value in adaptation.trainable.values())
    return {
        "trained": trained,
        "trained_pct": 100 * trained / adaptation.encoder_size,
        "head": sum(value.numel() for value in adaptation.head.values()),
        "backbone": adaptation.encoder_size,
        "stored_values": sum(value.numel() for value in adaptation.method_state().values()),
    }


def count_bytes(adaptation: Adaptation) -> dict[str, int]:
    """Return bytes of the tensors: of the method and of the head for each task, and shared by all."""
    return {
        "method": _bytes(adaptation.method_state()),
        "head": _bytes(adaptation.head),
        "shared": _bytes(adaptation.shared_state()),
    }


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors.values())


def provenance(adaptation: Adaptation, backbone: str) -> dict[str, str]:
    """Return the checksums of what a task state depends on: the backbone, and the shared mask or bank.

    Args:
        adaptation: as the method made it, before any change of precision.
        backbone: checksum of the backbone's weights.
    """
    shared = adaptation.shared_state()
    return {"backbone": backbone, "shared": content_hash(shared) if shared else ""}


def backbone_checksum(adaptation: Adaptation) -> str:
    """Return the sha256 over the encoder's own values: the checksum of a backbone without a checkpoint file.

    Args:
        adaptation: its changes are restored (`Change.restore`), and the model has its first precision.
    """
    # An adapted tensor has another name: torch moves it to `parametrizations`, peft below `base_layer`.
    own = {
        re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name).replace(".base_layer.", "."): value
        for name, value in adaptation.model.state_dict().items()
    }
    return content_hash({name: own[name] for name in adaptation.encoder_parameters})


def save_task_state(path: Path, adaptation: Adaptation, origin: Mapping[str, str]) -> None:
    """Write an adaptation's task state as safetensors, atomically.

    Args:
        path: the file.
        adaptation: its `task_state` is written and nothing else.
        origin: from `provenance`; written into the file's header.
    """
    _save(path, adaptation.task_state(), origin)


def load_task_state(path: Path, adaptation: Adaptation, origin: Mapping[str, str]) -> None:
    """Load a task state into an adaptation of the same backbone, method and mask or bank.

    Args:
        path: written by `save_task_state`.
        adaptation: its values are overwritten.
        origin: from `provenance`, of this adaptation.

    Raises:
        InputError: if the file is missing or damaged, or was trained on another backbone, mask or bank.
    """
    state, written = _read(path)
    for key, meaning in (("backbone", "backbone"), ("shared", "mask or bank of adapters")):
        if written.get(key) != origin[key]:
            raise InputError(
                f"{path} was trained with another {meaning}: its checksum there is "
                f"{written.get(key) or 'none'}, here it is {origin[key] or 'none'}. "
                "Load it with the configuration it was trained with."
            )
    adaptation.load_task_state(state)


def read_selection(path: str | Path) -> Selection:
    """Return what a run's phases selected, from its task state; empty for a method without phases.

    Args:
        path: written by `save_task_state`.

    Raises:
        InputError: if the file is missing or damaged.
    """
    return Selection(below(_read(Path(path))[0], SELECTION_PREFIX))


def write_shared_state(folder: Path, adaptation: Adaptation, origin: Mapping[str, str]) -> None:
    """Write what all tasks share, once, under its own hash.

    Args:
        folder: of shared states.
        adaptation: its `shared_state` is written, if it has one.
        origin: from `provenance`.
    """
    # Named by its hash: all runs with the same mask or bank share one file.
    path = folder / f"{origin['shared']}.safetensors"
    if origin["shared"] and not path.is_file():
        _save(path, adaptation.shared_state(), origin)


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hexadecimal) over names, shapes, types and values of tensors."""
    digest = hashlib.sha256()
    # Sorted, so that the hash does not depend on the order of a dictionary. Raw bytes, since bf16 has no
    # numpy type.
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path} does not exist; train the run first.")
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, file.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}). Train the run again: on_existing=retrain.") from error


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    from safetensors.torch import save_file

    # safetensors writes contiguous CPU tensors only.
    ready = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(ready, temporary, metadata=dict(metadata))
