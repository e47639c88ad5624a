"""A run with its inputs found, before anything heavy is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gluelamp.backbones.device import choose_device, choose_dtype
from gluelamp.backbones.load import Checkpoint, find_checkpoint
from gluelamp.runs.config import RunConfig
from gluelamp.runs.identity import effective_config, identity
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.glue import glue_task
from gluelamp.tasks.task import TaskData
from gluelamp.training.trainer import Rates

_SUBSET_SEED = 0  # the rows of max_train_examples are the same in every run


@dataclass(frozen=True)
class Plan:
    """What a configuration comes to on this machine and data.

    Args:
        config: of the run.
        effective: what of it can change the result; see `gluelamp.runs.identity`.
        data: the task's rows.
        checkpoint: the backbone's weights.
        rates: peak learning rates.
        device: where it runs.
        dtype: of the passes.
    """

    config: RunConfig
    effective: dict[str, Any]
    data: TaskData
    checkpoint: Checkpoint
    rates: Rates
    device: torch.device
    dtype: torch.dtype

    @property
    def identity(self) -> str:
        """The run's name."""
        return identity(self.effective)

    @property
    def root(self) -> Path:
        """The results folder."""
        return Path(self.config.results.root)

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        config = self.config
        names = (config.backbone.name, config.method.name, config.task.name, self.identity)
        return self.root.joinpath("runs", *names)

    @property
    def training_rows(self) -> pd.DataFrame:
        """The rows to train on, at most ``task.max_train_examples``."""
        rows, limit = self.data.splits["train"], self.config.task.max_train_examples
        if limit is None or limit >= len(rows):
            return rows
        return rows.sample(limit, random_state=_SUBSET_SEED).sort_index()


def plan_run(config: RunConfig) -> Plan:
    """Find a run's inputs and give it its identity.

    Raises:
        InputError: if device, data or backbone are not there.
    """
    task = glue_task(config.task.name)
    device = choose_device(config.trainer.device)
    dtype = choose_dtype(config.trainer.precision, device)
    config.method.check_task(is_regression=task.is_regression)
    checkpoint = find_checkpoint(config.backbone)
    data = load_task_data(task, config.data)
    rate = config.trainer.learning_rate or config.method.learning_rate
    rates = Rates(rate, config.method.head_learning_rate or rate)
    resolved: dict[str, dict[str, Any]] = {
        "data": {"fingerprint": data.fingerprint},
        "backbone": {"checksum": checkpoint.checksum},
        "trainer": {
            "learning_rate": rates.method,
            "head_learning_rate": rates.head,
            "precision": str(dtype).removeprefix("torch."),
        },
    }
    effective = effective_config(config, resolved)
    return Plan(config, effective, data, checkpoint, rates, device, dtype)
