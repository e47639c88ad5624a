"""Which persons of a task a run is about."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.methods.base import Method
from gluelamp.tasks.config import TaskConfig
from gluelamp.tasks.task import TaskData

_FIELDS = ("profiles", "min_user_rows", "max_users", "user_group")
_SMALLEST = 3  # a training row, a validation row and a test row


def check_users(config: RunConfig, has_users: bool) -> None:
    """Refuse settings for persons that the task or the method cannot serve, before data are read.

    Args:
        config: of the run.
        has_users: whether the rows of the task belong to persons.

    Raises:
        InputError: naming the key and what is allowed.
    """
    task = config.task
    usual = TaskConfig(name=task.name)
    given = [name for name in _FIELDS if getattr(task, name) != getattr(usual, name)]
    if given and not has_users:
        raise InputError(
            f"task.{given[0]}={getattr(task, given[0])!r} is not allowed: the rows of task {task.name!r} "
            "belong to nobody. Take a task of LaMP, or leave it out."
        )
    if task.profiles != "shared":
        _check_each(task, config)
    if config.trainer.profiles_per_pass > 1:
        _check_together(config)


def _check_each(task: TaskConfig, config: RunConfig) -> None:
    if task.min_user_rows < _SMALLEST:
        raise InputError(
            f"task.min_user_rows={task.min_user_rows} is not allowed with task.profiles={task.profiles}: "
            f"each user needs rows to train, to validate and to test on. Take {_SMALLEST} or more."
        )
    if task.max_train_examples is not None:
        raise InputError(
            f"task.max_train_examples={task.max_train_examples} is not allowed with "
            f"task.profiles={task.profiles}: the rows are sampled from those of all users, and some would "
            "be left without any. Take "
            "task.max_train_examples=null, and task.max_users for fewer users."
        )
    if task.profiles == "shared_then_per_user" and type(config.method).select is not Method.select:
        raise InputError(
            f"task.profiles=shared_then_per_user is not allowed with method {config.method_name!r}, "
            "which selects what it trains for each user: the shared values do not fit that selection. Take "
            "task.profiles=per_user."
        )


def _check_together(config: RunConfig) -> None:
    together, method = config.trainer.profiles_per_pass, config.method
    if config.task.profiles == "shared":
        raise InputError(
            f"trainer.profiles_per_pass={together} is not allowed with task.profiles=shared, where there is "
            "one profile to train. Take task.profiles=per_user, or trainer.profiles_per_pass=1."
        )
    if method.phases():
        raise InputError(
            f"trainer.profiles_per_pass={together} is not allowed with method {config.method_name!r}, "
            "which has preliminary phases. Take trainer.profiles_per_pass=1."
        )
    if config.trainer.graphs:
        raise InputError(
            f"trainer.profiles_per_pass={together} is not allowed with trainer.graphs=true, which "
            "replays steps of one adaptation. Take trainer.profiles_per_pass=1, or trainer.graphs=false."
        )


def of_chosen_users(data: TaskData, config: TaskConfig) -> TaskData:
    """Return the rows of the persons that a run is about; all rows of a task without persons.

    Args:
        data: of the task.
        config: says which persons.

    Raises:
        InputError: if nobody is left.
    """
    column = data.task.user_column
    if column is None:
        return data
    counts = pd.concat(data.splits.values())[column].value_counts()
    able = counts[counts >= config.min_user_rows]
    if config.profiles != "shared":  # equal texts are in one split, so rows alone do not fill the three
        in_all = set.intersection(*(set(rows[column]) for rows in data.splits.values()))
        able = able[able.index.isin(in_all)]
    ordered = sorted(able.items(), key=lambda item: (-item[1], item[0]))
    names = [name for name, _ in ordered][: config.max_users]
    chosen = names if config.user_group is None else names[config.user_group :: 2]
    if not chosen:
        raise InputError(
            f"No person of task {data.task.name!r} is left: {len(counts)} are there, the largest has "
            f"{counts.max()} rows, and task.min_user_rows={config.min_user_rows}. Lower it. With "
            "task.profiles=per_user a person needs rows in every split."
        )
    splits = {
        name: rows[rows[column].isin(chosen)].reset_index(drop=True) for name, rows in data.splits.items()
    }
    return replace(data, splits=splits)
