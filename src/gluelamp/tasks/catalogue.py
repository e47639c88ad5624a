"""All tasks that the suite knows, by name."""

from __future__ import annotations

from gluelamp.errors import unknown
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.task import Task

TASKS = GLUE | LAMP


def known_task(name: str) -> Task:
    """Return the declaration of a task of GLUE or LaMP.

    Args:
        name: the task's short name, such as ``"cola"`` or ``"lamp2n"``.

    Raises:
        InputError: if no such task exists; the message names the nearest one.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
