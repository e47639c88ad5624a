"""All tasks of the suite, by name."""

from __future__ import annotations

from gluelamp.errors import InputError, unknown
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.task import Task

TASKS = GLUE | SUPERGLUE | LAMP


def known_task(name: str) -> Task:
    """Return the declaration of a task.

    Args:
        name: the short name of the task, such as ``"cola"`` or ``"lamp2n"``.

    Raises:
        InputError: if no such task exists; the message names the nearest one.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]


def variant_name(name: str, split: str | None = None, target: str | None = None) -> str:
    """Return the name of a LaMP task with another split or another target.

    Args:
        name: the short name of a task, such as ``"lamp3"`` or ``"lamp3_score"``.
        split: ``"user"`` or ``"time"``; None: as in `name`.
        target: ``"class"`` or ``"score"``; None: as in `name`.

    Raises:
        InputError: if the task is unknown or has no such variant.
    """
    if split is None and target is None:
        return name
    known_task(name)
    # Names have the form BASE[_score][_time]. An option replaces its part; the other part stays.
    untimed = name.removesuffix("_time")
    base = untimed.removesuffix("_score")
    has_time = split == "time" if split else untimed != name
    has_score = target == "score" if target else base != untimed
    variant = f"{base}{'_score' * has_score}{'_time' * has_time}"
    if variant not in LAMP:
        given = " ".join(
            f"task.{key}={value}" for key, value in (("split", split), ("target", target)) if value
        )
        variants = [other for other in LAMP if other.removesuffix("_time").removesuffix("_score") == base]
        raise InputError(
            f"{given} is not allowed: task {name!r} has no such variant. "
            f"Its variants: {', '.join(variants) or 'none'}."
        )
    return variant
