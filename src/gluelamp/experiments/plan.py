"""The plan of a run: its configuration with data, weights, device and identity, before any training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from gluelamp.backbones.dropout import set_dropout
from gluelamp.backbones.load import Checkpoint, find_checkpoint, load_model
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.experiments.identity import effective_config, identity
from gluelamp.experiments.users import check_users, selected_users
from gluelamp.hardware import choose_device, choose_dtype
from gluelamp.tasks.config import CustomTaskConfig
from gluelamp.tasks.custom import read_custom
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.mixture import Mixture, find_task
from gluelamp.tasks.task import Task, TaskData
from gluelamp.training.profile_state import Rates

# The sampled rows are the same in every run: a seed changes the training, not the data.
_SUBSET_SEED = 0


@dataclass(frozen=True)
class Plan:
    """A configuration, resolved with the data and the hardware of this machine.

    Args:
        config: of the run.
        effective: all settings that can change the result; see `gluelamp.experiments.identity`.
        task: the declaration.
        data: the rows of the task, or of each task of a mixture.
        checkpoint: the backbone's weights.
        rates: peak learning rates.
        device: of the training.
        dtype: of the forward and backward passes.
        subfolder: of the run's folder, for a run that is trained next to the files of an older one.
    """

    config: RunConfig
    effective: dict[str, Any]
    task: Task | Mixture
    data: tuple[TaskData, ...]
    checkpoint: Checkpoint
    rates: Rates
    device: torch.device
    dtype: torch.dtype
    subfolder: str = ""

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
        """The folder of the run."""
        config = self.config
        names = (config.backbone.name, config.method_name, config.task.name, self.identity, self.subfolder)
        return self.root.joinpath("runs", *names)

    def load_model(self, attention: str) -> PreTrainedModel:
        """Return the encoder with a new, random head for the task, and the dropout of the run.

        Args:
            attention: name of the attention implementation.
        """
        labels = () if isinstance(self.task, Mixture) else self.task.labels
        model = load_model(self.checkpoint, self.task.num_outputs, attention, self.config.head.type, labels)
        if self.config.trainer.dropout is not None:
            set_dropout(model, self.config.trainer.dropout)  # the backbone's only: no method is applied yet
        return model

    def training_rows(self, data: TaskData) -> pd.DataFrame:
        """Return the training rows of a task, at most ``task.max_train_examples``."""
        rows, limit = data.splits["train"], self.config.task.max_train_examples
        if limit is None or limit >= len(rows):
            return rows
        return _sampled(rows, data.task, limit)


def check_run(raw: Mapping[str, Any]) -> None:
    """Refuse a composed configuration that no data, weights or device can make valid.

    Raises:
        InputError: as `parse_run`; or if the method cannot learn the task, or settings for users do not
            fit the task or the method.
    """
    _checked_task(parse_run(raw))


def _checked_task(config: RunConfig) -> Task | Mixture:
    task = _declared_task(config)
    config.method.check_task(task.kind)
    check_users(config, task.user_column is not None)
    if config.task.validation_from_train is not None:
        for member in _members(task):
            _check_no_users(member, config.task.validation_from_train)
    return task


def _declared_task(config: RunConfig) -> Task | Mixture:
    if isinstance(config.task, CustomTaskConfig):
        return read_custom(config.task, config.data).task
    return find_task(config.task.name, config.task.members)


def _load(config: RunConfig, task: Task | Mixture) -> tuple[TaskData, ...]:
    if isinstance(config.task, CustomTaskConfig):
        return (read_custom(config.task, config.data),)
    return tuple(load_task_data(member, config.data) for member in _members(task))


def _check_no_users(task: Task, rows: int) -> None:
    if task.user_column is not None:
        raise InputError(
            f"task.validation_from_train={rows} is not allowed: rows of task {task.name!r} belong together "
            f"by their {task.user_column!r}, and a sample of rows would separate them. Leave the option out."
        )


def _members(task: Task | Mixture) -> tuple[Task, ...]:
    return task.members if isinstance(task, Mixture) else (task,)


def plan_run(config: RunConfig) -> Plan:
    """Find the inputs of a run, and compute its identity.

    Raises:
        InputError: if device, data or backbone are missing, or as `check_run`.
    """
    task = _checked_task(config)
    # Cheap checks come first: a missing device is reported before data are read.
    device = choose_device(config.trainer.device)
    dtype = choose_dtype(config.trainer.precision, device)
    checkpoint = find_checkpoint(config.backbone)
    data = _load(config, task)
    _check_sources(data)
    rates = Rates.from_config(config.trainer)
    # Checksums and resolved values identify a run on every machine. Paths and "auto" would not.
    resolved: dict[str, dict[str, Any]] = {
        "data": {"fingerprint": _fingerprint(data)},
        "backbone": {"checksum": checkpoint.checksum, "settings": checkpoint.settings},
        "method": config.method.resolve(checkpoint.checksum),
        "task": {"custom": declared.model_dump()} if (declared := data[0].declaration) else {},
        "trainer": {
            "learning_rate": rates.method,
            "head_learning_rate": rates.head,
            "precision": str(dtype).removeprefix("torch."),
        },
    }
    # A bias of zero changes nothing, and is left out of the hash.
    if any(task.initial_head_bias):
        resolved["task"]["initial_head_bias"] = list(task.initial_head_bias)
    effective = effective_config(config, resolved)
    # The fingerprint above is over all rows. The selection of rows is part of the settings already.
    selected = tuple(selected_users(member, config.task) for member in data)
    if config.task.validation_from_train is not None:
        selected = tuple(_validate_on_train(one, config.task.validation_from_train) for one in selected)
    return Plan(config, effective, task, selected, checkpoint, rates, device, dtype)


def _validate_on_train(data: TaskData, rows: int) -> TaskData:
    """Return the data with a validation split of training rows, which are not trained on."""
    train, name = data.splits["train"], data.task.validation_splits[0]
    if rows >= len(train):
        raise InputError(
            f"task.validation_from_train={rows} is not allowed: task {data.task.name!r} has {len(train)} "
            "training rows, and some must be left to train on."
        )
    held_out = _sampled(train, data.task, rows)
    others = {key: value for key, value in data.splits.items() if key not in data.task.validation_splits}
    splits = {**others, "train": train.drop(held_out.index), name: held_out}
    return replace(
        data,
        splits=splits,
        deviations=(*data.deviations, f"{name} has {rows:,} rows of the training split, not trained on"),
    )


def _sampled(frame: pd.DataFrame, task: Task, rows: int) -> pd.DataFrame:
    """Return a sample of rows, in their order; of a task with groups at most so many, in whole groups."""
    if task.group_column is None:
        return frame.sample(rows, random_state=_SUBSET_SEED).sort_index()
    groups = frame[task.group_column]
    sizes = groups.value_counts().sort_index().sample(frac=1, random_state=_SUBSET_SEED).cumsum()
    number = max(int((sizes <= rows).sum()), 1)
    return frame[groups.isin(sizes.index[:number])]


def _check_sources(data: tuple[TaskData, ...]) -> None:
    if len({member.source for member in data}) > 1:
        sources = ", ".join(f"{member.task.name} from {member.source}" for member in data)
        raise InputError(
            f"The tasks of a mixture must come from one source; data.source=auto found {sources}. "
            "Take data=local, data=hub or data=sample."
        )


def _fingerprint(data: tuple[TaskData, ...]) -> str:
    """Return the fingerprint of a task's data; for a mixture, a hash of the fingerprints of its tasks."""
    fingerprints = [member.fingerprint for member in data]
    return fingerprints[0] if len(fingerprints) == 1 else sha256(" ".join(fingerprints).encode()).hexdigest()
