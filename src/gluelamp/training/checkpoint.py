"""The checkpoint of a run: everything that a killed run needs to continue with the same losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from gluelamp.backbones.dropout import DropoutMasks
from gluelamp.errors import InputError
from gluelamp.io import atomic_write


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint. A process that is killed meanwhile leaves the previous one.

    Args:
        path: the file.
        content: plain values and tensors.
    """
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint, on the CPU; None if there is no checkpoint.

    Raises:
        InputError: if the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        # torch does not compare the checksums that it writes
        with ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise BadZipFile(damaged)
        # weights_only: a checkpoint holds data, so reading one must not run code.
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any type: both readers follow what the bytes of a damaged file say
        raise InputError(
            f"The checkpoint {path} is damaged. Remove it and run again. Training then starts from the "
            "beginning."
        ) from error


def random_state(dropout: DropoutMasks, device: torch.device) -> dict[str, Any]:
    """Return the states of all random generators of a training.

    Args:
        dropout: the stream of the dropout masks.
        device: where the training runs.
    """
    return {
        "torch": torch.get_rng_state(),
        "dropout": dropout.state(),
        # Of this device alone, so that the run can resume where fewer GPUs are visible.
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: dict[str, Any], dropout: DropoutMasks, device: torch.device) -> None:
    """Set all random generators to what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    dropout.load_state(state["dropout"])
    if device.type == "cuda" and state["cuda"] is not None:  # None: the run started on a CPU
        torch.cuda.set_rng_state(state["cuda"], device)
