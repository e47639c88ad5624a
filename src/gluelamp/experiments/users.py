"""The users of a run: which settings they allow, whose rows are used, and the training of their profiles."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.progress import RunProgress
from gluelamp.methods.base import Method
from gluelamp.profiles import ProfileStore
from gluelamp.tasks.config import TaskConfig
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.task import Task, TaskData
from gluelamp.training.evaluation import Outputs, evaluate_splits
from gluelamp.training.profile_state import Profile, Progress, Rates
from gluelamp.training.trainer import DivergedError, Outcome, Trainer

_log = logging.getLogger(__name__)
_USER_SETTINGS = ("profiles", "min_user_rows", "max_users", "user_group")
_MIN_ROWS = 3  # a training row, a validation row and a test row

NewTrainer = Callable[[Sequence[Profile], Path], Trainer]
"""Makes a trainer of some profiles with a new model; its checkpoint is written to the folder."""


def check_users(config: RunConfig, has_users: bool) -> None:
    """Refuse settings for users that the task or the method does not support, before data are read.

    Args:
        config: of the run.
        has_users: whether the task's rows belong to users.

    Raises:
        InputError: naming the key and what is allowed.
    """
    task, defaults = config.task, TaskConfig(name=config.task.name)
    changed = [key for key in _USER_SETTINGS if getattr(task, key) != getattr(defaults, key)]
    if changed and not has_users:
        raise InputError(
            f"task.{changed[0]}={getattr(task, changed[0])!r} is not allowed: the rows of task {task.name!r} "
            "have no users. Take a task of LaMP, or leave the option out."
        )
    if task.profiles != "shared":
        _check_per_user(config)
    if config.trainer.profiles_per_pass > 1:
        _check_profiles_per_pass(config)


def _check_per_user(config: RunConfig) -> None:
    task = config.task
    if task.min_user_rows < _MIN_ROWS:
        raise InputError(
            f"task.min_user_rows={task.min_user_rows} is not allowed with task.profiles={task.profiles}: "
            f"each user needs rows for training, validation and test. Take {_MIN_ROWS} or more."
        )
    if task.max_train_examples is not None:
        raise InputError(
            f"task.max_train_examples={task.max_train_examples} is not allowed with "
            f"task.profiles={task.profiles}: the rows are sampled from those of all users, and some users "
            "would have none. Take task.max_train_examples=null, and task.max_users for fewer users."
        )
    selects = type(config.method).selection_from_phases is not Method.selection_from_phases
    if task.profiles == "shared_then_per_user" and selects:
        raise InputError(
            f"task.profiles=shared_then_per_user is not allowed with method {config.method_name!r}, "
            "which selects what it trains for each user: the shared values do not fit that selection. Take "
            "task.profiles=per_user."
        )


def _check_profiles_per_pass(config: RunConfig) -> None:
    setting = f"trainer.profiles_per_pass={config.trainer.profiles_per_pass}"
    if config.task.profiles == "shared":
        raise InputError(
            f"{setting} is not allowed with task.profiles=shared, where there is one profile to train. Take "
            "task.profiles=per_user, or trainer.profiles_per_pass=1."
        )
    if config.method.phases():
        raise InputError(
            f"{setting} is not allowed with method {config.method_name!r}, which has preliminary phases. "
            "Take trainer.profiles_per_pass=1."
        )
    if config.trainer.graphs:
        raise InputError(
            f"{setting} is not allowed with trainer.graphs=true, which replays the steps of one profile. "
            "Take trainer.profiles_per_pass=1, or trainer.graphs=false."
        )


def selected_users(data: TaskData, config: TaskConfig) -> TaskData:
    """Return the rows of the users of a run; all rows of a task without users.

    Args:
        data: of the task.
        config: selects the users.

    Raises:
        InputError: if no user is left.
    """
    column = data.task.user_column
    if column is None:
        return data
    counts = pd.concat(data.splits.values())[column].value_counts()
    eligible = counts[counts >= config.min_user_rows]
    if config.profiles != "shared":
        # Equal texts of a user are in one split, so even a user with many rows may lack a split.
        in_all_splits = set.intersection(*(set(rows[column]) for rows in data.splits.values()))
        eligible = eligible[eligible.index.isin(in_all_splits)]
    # users with equal counts are ordered by name, so that the selection is the same on every machine
    ordered = sorted(eligible.items(), key=lambda item: (-item[1], item[0]))
    names = [name for name, _ in ordered][: config.max_users]
    if config.user_group is not None:
        names = names[config.user_group :: 2]
    if not names:
        raise InputError(
            f"No user of task {data.task.name!r} is left of {len(counts)}: the largest has {counts.max()} "
            f"rows, and task.min_user_rows={config.min_user_rows}. Lower it. With task.profiles=per_user a "
            "user needs rows in every split."
        )
    splits = {
        name: rows[rows[column].isin(names)].reset_index(drop=True) for name, rows in data.splits.items()
    }
    return replace(data, splits=splits)


@dataclass(frozen=True)
class Users:
    """The users of a task, each with their own rows.

    Args:
        task: the declaration.
        train: the training rows of all users.
        validation: the validation splits of all users.
        per_pass: number of profiles that are trained in one pass.
        folder: holds what a resumed run needs: a folder for each group of users that are trained in the
            same passes, and in it a folder for each user.
    """

    task: Task
    train: EncodedSplit
    validation: Mapping[str, EncodedSplit]
    per_pass: int
    folder: Path

    @property
    def groups(self) -> dict[Path, list[str]]:
        """The users of each group, by the folder of the group."""
        # sorted, so that a resumed run forms the same groups
        names = sorted(set(() if self.train.users is None else self.train.users))
        starts = range(0, len(names), self.per_pass)
        return {self.folder / f"group-{start}": names[start : start + self.per_pass] for start in starts}

    def train_profiles(
        self, new_trainer: NewTrainer, rates: Rates, seed: int, progress: RunProgress
    ) -> dict[str, Outcome]:
        """Train the profiles of all users, group by group. A group that is finished is not trained again.

        Args:
            new_trainer: makes the trainer of a group.
            rates: peak learning rates.
            seed: the same for all users, so that a result does not depend on the other users.
            progress: of the run.
        """
        outcomes: dict[str, Outcome] = {}
        number = sum(map(len, self.groups.values()))
        for folder, names in self.groups.items():
            progress.users(len(outcomes), len(names), number)
            profiles = [self._profile(name, folder / str(i), rates, seed) for i, name in enumerate(names)]
            try:
                trained = new_trainer(profiles, folder).run()
            except DivergedError as error:
                # raised by a preliminary phase; a method with phases trains one user at a time
                trained = [Outcome(Progress(), {}, {}, {}, 0, str(error))]
            outcomes |= zip(names, trained, strict=True)
        return outcomes

    def _profile(self, name: str, folder: Path, rates: Rates, seed: int) -> Profile:
        folder.mkdir(parents=True, exist_ok=True)
        validation = {split: rows.user_rows(name) for split, rows in self.validation.items()}
        return Profile(self.train.user_rows(name), validation, rates, seed, folder)

    def outputs(self, outcomes: Mapping[str, Outcome], selection: str) -> Outputs:
        """Return the head's outputs for all rows, each row with the profile of its user.

        The outputs are zero for a user whose training diverged before the first evaluation.

        Args:
            outcomes: by user, from `train_profiles`.
            selection: ``best`` or ``last``.

        Returns:
            by split, (rows, outputs).
        """
        outputs = {}
        for split, rows in self.validation.items():
            outputs[split] = np.zeros((len(rows), self.task.num_outputs), np.float32)
            for name, outcome in outcomes.items():
                if selection in outcome.outputs:
                    outputs[split][rows.users == name] = outcome.outputs[selection][split]
        return outputs

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return the task's metrics over the rows of all users."""
        return evaluate_splits(self.task, dict(self.validation), outputs)

    def store(
        self, path: Path, selection: str, provenance: Mapping[str, str], method: Mapping[str, Any]
    ) -> None:
        """Write the profiles of all users into one profile store.

        A method that selects its parameters for each user may have profiles of different shapes, which one
        store cannot hold. Then no store is written.

        Args:
            path: of the store; an existing one is replaced.
            selection: ``best`` or ``last``.
            provenance: as for `ProfileStore.create`.
            method: as for `ProfileStore.create`.
        """
        # first, because a store of a killed process may be there, and a new one may not be possible
        path.unlink(missing_ok=True)
        states = {name: load_file(file) for name, file in self._files(selection) if file.is_file()}
        # the store is one table of equal rows
        shapes = {tuple(sorted((key, value.shape) for key, value in s.items())) for s in states.values()}
        if len(shapes) != 1:
            _log.warning("%s is not written: the users' profiles have different shapes", path)
            return
        example = next(iter(states.values()))
        stacked = {key: torch.stack([state[key] for state in states.values()]) for key in example}
        with ProfileStore.create(path, example, provenance=provenance, method=method) as store:
            store.append(list(states), stacked)

    def _files(self, selection: str) -> Iterator[tuple[str, Path]]:
        for folder, names in self.groups.items():
            for number, name in enumerate(names):
                yield name, folder / str(number) / f"{selection}.safetensors"


def mean_history(outcomes: Sequence[Outcome]) -> list[dict[str, float]]:
    """Return one entry per evaluation: the mean over the users whose training did not diverge."""
    # the histories of users who diverged are shorter, and would cut off those of the others
    histories = [outcome.progress.history for outcome in outcomes if outcome.error is None]
    return [
        {key: float(np.mean([entry[key] for entry in entries])) for key in entries[0]}
        for entries in zip(*histories, strict=False)
    ]


def mean_speed(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the training time of all groups, and the mean of each rate over that time."""
    # The users of a group share one speed object, which must count once. A user whose training diverged
    # in a phase has none.
    speeds = list({id(outcome.speed): outcome.speed for outcome in outcomes if outcome.speed}.values())
    seconds = [speed["train_seconds"] for speed in speeds]
    rates = {key: float(np.average([s[key] for s in speeds], weights=seconds)) for key in speeds[0]}
    return rates | {"train_seconds": sum(seconds)}
