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

# What cannot change a result, and what a checksum, a learning rate or a precision came from. The
# seed is here because runs that differ in nothing else are one variant.
_WITHOUT_EFFECT = (
    *("seed", "on_existing", "results", "tracker"),
    *("data.source", "data.root", "data.hub_timeout_s", "data.revision"),
    *("backbone.shape", "backbone.hub_id", "backbone.revision"),
    *("backbone.path", "backbone.wheel", "backbone.sha256"),
    *("trainer.device", "trainer.eval_batch_size", "trainer.checkpoint_steps"),
)
_LEARNING_RATES = ("trainer.learning_rate", "method.learning_rate", "method.head_learning_rate")


def settings_of(record: RunRecord) -> dict[str, str]:
    """Return all that can change the result of a complete run, but the seed, by dotted key.

    Args:
        record: a complete run. What was read or resolved stands for how it was written: the data's
            fingerprint, the backbone's checksum, and where the record has them ``config.rates`` and
            the type of the device's numbers.
    """
    without = _WITHOUT_EFFECT + (_LEARNING_RATES if "rates" in record.config else ())
    settings = {
        key: value
        for key, value in flatten(record.config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in without)
    }
    settings["data.fingerprint"] = str(record.data["fingerprint"])[:8]
    settings["backbone.checksum"] = str(record.backbone["checksum"])[:8]
    if "dtype" in record.device:
        settings["trainer.precision"] = str(record.device["dtype"])
    return settings


def variant_labels(runs: Sequence[Run]) -> list[str]:
    """Return one label per run: the method's name and, in brackets, what sets its variant apart.

    Two runs of one family have the same label exactly if they have the same settings.

    Args:
        runs: the runs. Settings below ``method`` are printed bare, others with their full path.

    Returns:
        labels such as ``"pafi"`` or ``"pafi [density=0.01, trainer.epochs=3]"``, one per run.
    """
    families: dict[Hashable, list[Mapping[str, str]]] = defaultdict(list)
    for family, _, settings in runs:
        families[family].append(settings)
    differing = {family: _differing_keys(members) for family, members in families.items()}
    return [_label(method, settings, differing[family]) for family, method, settings in runs]


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a nested configuration as text by dotted key."""

    def leaves(here: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in here.items():
            if isinstance(value, Mapping):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)

    return dict(leaves(config, ""))


def _differing_keys(members: Sequence[Mapping[str, str]]) -> list[str]:
    keys = sorted({key for settings in members for key in settings})
    return [key for key in keys if len({settings.get(key, UNSET) for settings in members}) > 1]


def _label(method: str, settings: Mapping[str, str], keys: Sequence[str]) -> str:
    if not keys:
        return method
    shown = (f"{key.removeprefix('method.')}={settings.get(key, UNSET)}" for key in keys)
    return f"{method} [{', '.join(shown)}]"
