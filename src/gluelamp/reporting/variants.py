"""Names for the variants of a method: the settings in which runs of one family differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

UNSET = "unset"


def variant_labels(runs: Sequence[tuple[Hashable, str, Mapping[str, Any]]]) -> list[str]:
    """Return one label per run: the method's name and, in brackets, what sets its variant apart.

    Two runs of one family have the same label exactly if they have the same configuration.

    Args:
        runs: per run its family (the runs to tell apart), its method's name and its configuration
            without the seed. Keys below ``method`` are printed bare, others with their full path.

    Returns:
        labels such as ``"pafi"`` or ``"pafi [density=0.01, trainer.epochs=3]"``, one per run.
    """
    flat = [dict(_flatten(config)) for _, _, config in runs]
    families: dict[Hashable, list[dict[str, str]]] = defaultdict(list)
    for (family, _, _), settings in zip(runs, flat, strict=True):
        families[family].append(settings)
    differing = {family: _differing_keys(members) for family, members in families.items()}
    return [
        _label(method, settings, differing[family])
        for (family, method, _), settings in zip(runs, flat, strict=True)
    ]


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _differing_keys(members: Sequence[Mapping[str, str]]) -> list[str]:
    keys = sorted({key for settings in members for key in settings})
    return [key for key in keys if len({settings.get(key, UNSET) for settings in members}) > 1]


def _label(method: str, settings: Mapping[str, str], keys: Sequence[str]) -> str:
    if not keys:
        return method
    shown = (f"{key.removeprefix('method.')}={settings.get(key, UNSET)}" for key in keys)
    return f"{method} [{', '.join(shown)}]"
