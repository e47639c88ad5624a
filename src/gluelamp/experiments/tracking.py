"""Logs of the evaluations of a run while it is training. The record does not depend on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.io import read_json, write_json
from gluelamp.training.trainer import Trainer


class JsonLog:
    """The local log: all evaluations in ``log.json``. A resumed run continues the log.

    Args:
        folder: of the run.

    Raises:
        InputError: if the log is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.json"
        written = read_json(self.path)["evaluations"] if self.path.is_file() else []
        # by step: a resumed run repeats the evaluations after its last checkpoint
        self.entries: dict[int, Mapping[str, float]] = {entry["step"]: entry for entry in written}

    def step(self, trainer: Trainer) -> None:
        """Do nothing: only evaluations are logged."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        self.entries[step] = {"step": step, **values}
        write_json(self.path, {"evaluations": list(self.entries.values())})

    def close(self) -> None:
        """Do nothing: the file is complete after each step."""


class WandbTracker(JsonLog):
    """Weights & Biases in addition to the local log.

    Args:
        config: of the run.
        identity: of the run. It is also the run's id at Weights & Biases, where a resumed run continues.
        folder: of the run.

    Raises:
        InputError: if Weights & Biases rejects the project's name or the key.
    """

    def __init__(self, config: RunConfig, identity: str, folder: Path) -> None:
        import wandb

        super().__init__(folder)
        # One process may train many runs of a sweep: reinit ends a run that an error left open.
        try:
            self.run = wandb.init(
                project=config.tracker.project,
                id=identity,
                name=f"{config.backbone.name}-{config.method_name}-{config.task.name}-{config.seed}",
                config=asdict(config),
                dir=str(folder),
                mode=_wandb_mode() if config.tracker.mode == "auto" else config.tracker.mode,
                resume="allow",
                reinit="finish_previous",
            )
        except wandb.Error as error:
            raise InputError(
                f"Weights & Biases does not start: {error} Change tracker.project, or take "
                "tracker.mode=offline or tracker=none."
            ) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of a step."""
        super().log(step, values)
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run at Weights & Biases."""
        self.run.finish()


def _wandb_mode() -> Literal["offline"] | None:
    """Return the mode without a wish of the user's: that of Weights & Biases, or offline without a key."""
    import wandb

    # It reads WANDB_MODE itself, and keys from WANDB_API_KEY and .netrc. Without a key it would ask for one.
    if os.environ.get("WANDB_MODE") or wandb.login(prompt=False, verify=False):
        return None
    return "offline"


def open_tracker(config: RunConfig, identity: str, folder: Path) -> JsonLog:
    """Return the tracker of a configuration.

    Args:
        config: of the run.
        identity: of the run.
        folder: of the run.
    """
    if config.tracker.name == "wandb":
        return WandbTracker(config, identity, folder)
    return JsonLog(folder)
