"""Names for the variants of a method: the settings in which runs of one family differ."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from gluelamp.records import RunRecord

Run = tuple[Hashable, str, Mapping[str, str]]
"""A run's family (the runs to tell apart), its method's name and its flat settings."""

UNSET = "unset"
OF_ROWS = ("task.", "data.")
"""How keys of settings begin that describe the rows of a run."""
OF_TRAINING = ("backbone.", "trainer.", "head.")
"""How keys begin that describe its training, whatever the method."""

_CHECKSUMS = ("data.fingerprint", "backbone.checksum", "backbone.settings", "method.bank")
_SHOWN_DIGITS = 8


def settings_of(record: RunRecord) -> dict[str, str]:
    """Return all that can change the result of a run, but the seed, as text by dotted key."""
    settings = flatten(record.config_dict())
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
    labelled = zip(runs, _telling_keys(runs), strict=True)
    return [_label(method, settings, keys) for (_, method, settings), keys in labelled]


def table_labels(runs: Sequence[Run]) -> list[str]:
    """Return labels for the runs of several methods that stand in one table.

    They are those of `variant_labels` for each method. Besides, a run that was on other rows, or was trained
    otherwise, than most runs of the table says so: it cannot be compared with them. Learning rates are a
    method's own.

    Args:
        runs: a family here is a table.
    """
    of_method = _telling_keys([((table, method), method, settings) for table, method, settings in runs])
    labelled = zip(runs, of_method, _unusual_keys(runs), strict=True)
    return [
        _label(method, settings, sorted({*told, *unusual}))
        for (_, method, settings), told, unusual in labelled
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


def _telling_keys(runs: Sequence[Run]) -> list[list[str]]:
    """Of each run, the keys that tell it from others of its family, sorted."""
    everywhere = _differing_keys([(family, settings) for family, _, settings in runs])
    on_task = _differing_keys(
        [((family, settings.get("task.name")), settings) for family, _, settings in runs]
    )
    return [
        [key for key in wide if key in narrow or not key.startswith(OF_ROWS)]
        for wide, narrow in zip(everywhere, on_task, strict=True)
    ]


def _unusual_keys(runs: Sequence[Run]) -> list[list[str]]:
    """Of each run, the keys of its rows and its training in which it is not as most of its family are."""
    values: dict[Hashable, Counter[str]] = defaultdict(Counter)
    shared = [list(_shared_settings(family, settings)) for family, _, settings in runs]
    for group, _, value in chain(*shared):
        values[group][value] += 1
    usual = {group: max(sorted(counts), key=lambda value: counts[value]) for group, counts in values.items()}
    return [[key for group, key, value in of_run if value != usual[group]] for of_run in shared]


def _shared_settings(family: Hashable, settings: Mapping[str, str]) -> Iterator[tuple[Hashable, str, str]]:
    """Yield what runs are compared with, the key and the value of each setting that all methods have."""
    for key, value in settings.items():
        if key.startswith(OF_ROWS):
            yield (family, settings.get("task.name"), key), key, value
        elif key.startswith(OF_TRAINING) and not key.endswith("learning_rate"):
            yield (family, key), key, value


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
