"""What a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch


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
        flops_per_token: floating-point operations of a training step for each of its tokens.
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
    flops_per_token: float = 0.0
    finished: bool = False


def save_checkpoint(path: Path, progress: Progress, tensors: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name and rename it.

    Args:
        path: the file.
        progress: written as it is.
        tensors: state dictionaries of optimiser, schedule, random sources and trained values.
    """
    temporary = path.with_suffix(".partial")  # one name: what a killed run left is overwritten
    torch.save({"progress": asdict(progress), **tensors}, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> tuple[Progress, dict[str, Any]] | None:
    """Return what `save_checkpoint` wrote, or None if there is no checkpoint."""
    if not path.is_file():
        return None
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return Progress(**tensors.pop("progress")), tensors
