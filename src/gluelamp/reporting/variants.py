"""Names for the variants of a method: the settings in which runs of one family differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from gluelamp.records import RunRecord

Run = tuple[Hashable, str, Mapping[str, str]]
"""A run's family (the runs to tell apart), its method's name and its flat settings."""

UNSET = "unset"
OF_ROWS = ("task.", "data.")
"""How keys of settings begin that describe the rows of a run."""

_CHECKSUMS = ("data.fingerprint", "backbone.checksum", "backbone.settings", "method.bank")
_SHOWN_DIGITS = 8


def settings_of(record: RunRecord) -> dict[str, str]:
    """Return all that can change the result of a run, but the seed, as text by dotted key."""
    settings = flatten(record.config)
    del settings["seed"]
    shortened = {key: settings[key][:_SHOWN_DIGITS] for key in _CHECKSUMS if key in settings}
    return settings | shortened


def variant_labels(runs: Sequence[Run]) -> list[str]:
    """Return one label per run: the method's name and, in brackets, what sets its variant apart.

    Two runs of one family on one task have the same label exactly if they have the same settings. What
    describes the rows differs between tasks anyway: it is in a label only where it differs within a task.

    Args:
        runs: the runs. Settings below ``method`` are printed bare, others with their full path.

    Returns:
        labels such as ``"pafi"`` or ``"pafi [density=0.01, trainer.epochs=3]"``, one per run.
    """
    everywhere = _differing_keys([(family, settings) for family, _, settings in runs])
    on_task = _differing_keys(
        [((family, settings.get("task.name")), settings) for family, _, settings in runs]
    )
    return [
        _label(method, settings, [key for key in wide if key in narrow or not key.startswith(OF_ROWS)])
        for (_, method, settings), wide, narrow in zip(runs, everywhere, on_task, strict=True)
    ]


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a nested configuration as text by dotted key."""

    def leaves(here: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in here.items():
            if isinstance(value, Mapping):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)

    return dict(leaves(config, ""))


def _differing_keys(runs: Sequence[tuple[Hashable, Mapping[str, str]]]) -> list[list[str]]:
    """Of each run, the keys in which the runs of its family differ, sorted."""
    families: dict[Hashable, list[Mapping[str, str]]] = defaultdict(list)
    for family, settings in runs:
        families[family].append(settings)
    differing = {family: _differing(members) for family, members in families.items()}
    return [differing[family] for family, _ in runs]


def _differing(members: Sequence[Mapping[str, str]]) -> list[str]:
    keys = sorted({key for settings in members for key in settings})
    return [key for key in keys if len({settings.get(key, UNSET) for settings in members}) > 1]


def _label(method: str, settings: Mapping[str, str], keys: Sequence[str]) -> str:
    if not keys:
        return method
    shown = (f"{key.removeprefix('method.')}={settings.get(key, UNSET)}" for key in keys)
    return f"{method} [{', '.join(shown)}]"
