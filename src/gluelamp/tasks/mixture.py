"""Mixtures: several tasks that one run trains together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import ClassVar, Literal

import numpy as np

from gluelamp.errors import InputError
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.task import Task


@dataclass(frozen=True)
class Mixture:
    """Several tasks under one name, each with its own head.

    The head of a mixture concatenates the outputs of all members. So the columns of each member are a
    separate linear head over the same features.

    Args:
        name: the name in records and tables.
        members: the tasks, in the order of their columns.
    """

    name: str
    members: tuple[Task, ...]
    main_metric: str = "average"
    """The mean of the members' main metrics."""
    kind: ClassVar[Literal["mixture"]] = "mixture"
    lower_is_better: ClassVar[bool] = False
    user_column: ClassVar[None] = None

    @property
    def num_outputs(self) -> int:
        """Number of values that the head returns per example."""
        return sum(member.num_outputs for member in self.members)

    @property
    def initial_head_bias(self) -> tuple[float, ...]:
        """The initial bias of the head, for each output."""
        return tuple(value for member in self.members for value in member.initial_head_bias)

    @property
    def columns(self) -> tuple[slice, ...]:
        """The outputs of each member."""
        # Member i has the columns between the sums of outputs before and after it.
        ends = list(accumulate((member.num_outputs for member in self.members), initial=0))
        return tuple(slice(*pair) for pair in pairwise(ends))


def find_task(name: str, members: Sequence[str] = ()) -> Task | Mixture:
    """Return the declaration of a task, or of a mixture of tasks.

    Args:
        name: of the task, such as ``"cola"``; of a mixture, any name.
        members: the names of the tasks of a mixture; empty for a single task.

    Raises:
        InputError: if a task does not exist or has no training rows, or if a mixture has only one task,
            the same task twice, or a task whose main metric is an error.
    """
    tasks = tuple(map(known_task, members or [name]))
    for task in tasks:
        if "train" not in task.rows:
            raise InputError(f"task {task.name!r} has no training rows; it is for prediction only.")
    if not members:
        return tasks[0]
    # A repeated task would count twice in the average that selects the epoch.
    if len(set(members)) < max(2, len(members)):
        raise InputError(
            f"task.members={list(members)} is not allowed: a mixture needs two or more different tasks."
        )
    for task in tasks:
        if task.lower_is_better:
            raise InputError(
                f"task.members={list(members)} is not allowed: the main metric of {task.name!r}, "
                f"{task.main_metric}, is an error and cannot be averaged with scores. Take a task that is "
                "measured by a score, such as 'lamp3' for 'lamp3_score'."
            )
    return Mixture(name, tasks)


def member_split(split: EncodedSplit, number: int) -> EncodedSplit:
    """Return the split of one member, with the member's number at each example.

    Args:
        split: encoded for the member alone.
        number: the position of the member, from 0.
    """
    # Class ids and scores of different members share one array. Float32 holds class ids exactly.
    labels = split.labels.astype(np.float32)
    return replace(split, labels=labels, tasks=np.full(len(split), number))
