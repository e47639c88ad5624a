"""What a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from gluelamp.errors import InputError


@dataclass
class Progress:
    """How far a run is, and what it has seen.

    Args:
        epoch: the epoch under way, counted from 0.
        batch: batches done in it.
        step: optimiser steps done in all.
        losses: the loss of each step.
        history: one entry an evaluation.
        best: the number of the best evaluation in ``history``.
        seconds: training time so far, evaluations not counted.
        tokens: tokens trained on so far, padding not counted.
        finished: whether training has ended.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = -1
    seconds: float = 0.0
    tokens: int = 0
    finished: bool = False


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name and, once it is on the disk, rename it.

    Args:
        path: the file.
        content: plain values and tensors.
    """
    temporary = path.with_suffix(".partial")  # one name: what a killed run left is overwritten
    with temporary.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what `save_checkpoint` wrote, or None if there is no checkpoint.

    Raises:
        InputError: if the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, UnpicklingError) as error:
        raise InputError(
            f"The checkpoint {path} is damaged. Remove it and run again: what it held is then trained anew."
        ) from error
