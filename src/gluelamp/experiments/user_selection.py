"""The users of a run: which settings are possible, and which users' rows are used."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.methods.base import Method
from gluelamp.tasks.config import TaskConfig
from gluelamp.tasks.task import TaskData

_USER_SETTINGS = ("profiles", "min_user_rows", "max_users", "user_group")
_MIN_ROWS = 3  # a training row, a validation row and a test row


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
    if task.profiles == "shared_then_per_user" and type(config.method).select is not Method.select:
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
