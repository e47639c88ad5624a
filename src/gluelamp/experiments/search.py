"""Random search on a grid: a trial is one point of the space that a method's config declares."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from hashlib import sha256
from itertools import product
from typing import Any

from gluelamp.errors import InputError, unknown

# Chosen before any trial ran: the first order in which the 12 trials of experiment=search try every value of
# every method's options at least twice.
_SEED = 1

Point = dict[str, Any]
"""A value for each searched option, by dotted key."""


def search_points(space: Mapping[str, Any]) -> list[Point]:
    """Return all points of a search space, in a fixed random order.

    The first n points are n trials of a random search without replacement (Bergstra and Bengio, JMLR 2012).
    Spaces of equal shape have equal orders: methods with the same values have the same trials.

    Args:
        space: the values of each option, by dotted key such as ``trainer.learning_rate``.

    Raises:
        InputError: if an option has no list of values.
    """
    for key, values in space.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"search: {key}={values!r} is not allowed: give a list of values.")
    points = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    # A hash gives the same order on every machine and in every release of Python and NumPy.
    order = sorted(range(len(points)), key=lambda number: sha256(f"{_SEED} {number}".encode()).digest())
    return [points[number] for number in order]


def with_trial(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a composed configuration with the values of its trial in place of the options.

    Args:
        raw: nested plain containers. ``raw["trial"]`` is the number of a point, from 0; if it is None, the
            options stay. ``raw["search"]`` is the space, from the method's config.

    Raises:
        InputError: if the method has no search space, or the space no such point or an unknown option.
    """
    values = {key: value for key, value in raw.items() if key not in ("trial", "search")}
    trial, space = raw.get("trial"), raw.get("search")
    if trial is None:
        return values
    if not isinstance(space, Mapping) or not space:
        raise InputError(
            f"trial={trial!r} is not allowed: the method's config has no search space. Add a section "
            "`search`, as in configs/method/pafi.yaml."
        )
    points = search_points(space)
    if not isinstance(trial, int) or not 0 <= trial < len(points):
        raise InputError(
            f"trial={trial!r} is not allowed: the search space of the method has {len(points)} points. Take "
            f"null or a number from 0 to {len(points) - 1}."
        )
    values = copy.deepcopy(values)
    for key, value in points[trial].items():
        section, _, option = key.rpartition(".")
        options = values.get(section)
        if not isinstance(options, dict) or option not in options:
            known = [f"{name}.{inner}" for name in ("trainer", "method") for inner in values.get(name, {})]
            raise unknown("search: option", key, known)
        options[option] = value
    return values
