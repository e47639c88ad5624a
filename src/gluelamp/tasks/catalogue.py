"""All tasks of the suite by name, and those that a record declares."""

from __future__ import annotations

from gluelamp.errors import InputError, unknown
from gluelamp.records import CustomSection, TaskSection
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.task import ERRORS, Task

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


def recorded_task(section: TaskSection) -> Task | None:
    """Return the declaration of the task of a run; None for a mixture, and for a name of no task.

    Args:
        section: of its record.
    """
    if section.custom:
        return custom_task(section.name, section.custom)
    # A mixture may have the name of a task, but its rows are those of its members.
    return None if section.members else TASKS.get(section.name)


def custom_task(name: str, section: CustomSection) -> Task:
    """Return the declaration of a task on rows of a user's own.

    Args:
        name: in tables and folders.
        section: what a record holds of it.
    """
    return Task(
        name=name,
        benchmark="custom",
        text_columns=tuple(section.text),
        labels=tuple(section.labels),
        metrics=tuple(section.metrics),
        main_metric=section.metrics[0],
        rows={"train": 0, "validation": 0, "test": 0},  # no official numbers
        submission={"test": name},
        licence="that of the user's own data",
        citation="the user's own data",
        label_range=None if section.label_range is None else (section.label_range[0], section.label_range[1]),
        user_column=section.user,
        lower_is_better=section.metrics[0] in ERRORS,
    )


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
