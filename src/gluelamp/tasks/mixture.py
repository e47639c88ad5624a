"""Several tasks that one run learns together."""

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
    """Several tasks under one name, each with a head of its own.

    The head of a mixture has the outputs of all members side by side, so that each member's columns
    are a linear head of its own over the same features.

    Args:
        name: as in tables.
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
        """Which of the outputs belong to each member."""
        ends = list(accumulate((member.num_outputs for member in self.members), initial=0))
        return tuple(slice(*pair) for pair in pairwise(ends))


def find_task(name: str, members: Sequence[str] = ()) -> Task | Mixture:
    """Return the declaration of a task, or of a mixture of tasks.

    Args:
        name: of the task, such as ``"cola"``; of a mixture, any.
        members: the names of a mixture's tasks; none for a single task.

    Raises:
        InputError: if a task does not exist or cannot be trained on, or if a mixture is of one task, names
            a task twice, or has one that is measured by an error.
    """
    tasks = tuple(map(known_task, members or [name]))
    for task in tasks:
        if "train" not in task.rows:
            raise InputError(f"task {task.name!r} has no training rows; it is for prediction only.")
    if not members:
        return tasks[0]
    if len(set(members)) < max(2, len(members)):
        raise InputError(
            f"task.members={list(members)} is not allowed: a mixture is of two or more different tasks."
        )
    for task in tasks:
        if task.lower_is_better:
            raise InputError(
                f"task.members={list(members)} is not allowed: of {task.name!r} less {task.main_metric} is "
                "better, and an average with the other members' scores would say nothing. Take a task that "
                "is measured by a score, such as 'lamp3' for 'lamp3_score'."
            )
    return Mixture(name, tasks)


def member_split(split: EncodedSplit, number: int) -> EncodedSplit:
    """Return a member's split, which says of each example to which member it belongs.

    Args:
        split: encoded for the member alone.
        number: of the member, from 0.
    """
    labels = split.labels.astype(np.float32)  # classes beside scores: whole numbers are exact
    return replace(split, labels=labels, tasks=np.full(len(split), number))
