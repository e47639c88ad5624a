"""What makes two runs the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gluelamp.experiments.config import RunConfig

# What cannot change a result: where things lie, and how fast they run. Data and backbone are known by
# checksums instead, and rates and precision by what they came to.
_WITHOUT_EFFECT = {
    "backbone": ("hub_id", "revision", "path", "wheel", "sha256", "shape"),
    "data": ("source", "root", "hub_timeout_s", "revision"),
    "trainer": ("device", "graphs", "eval_batch_size", "checkpoint_steps"),
}
_RATES = ("learning_rate", "head_learning_rate")


def effective_config(config: RunConfig, resolved: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return all that can change a run's result, as nested plain values: what its record shows.

    Args:
        config: of the run.
        resolved: by section, what the configuration came to on this machine and data, such as
            checksums, learning rates and precision; it replaces what was written.
    """
    content = asdict(config)
    for section in ("results", "tracker", "on_existing"):
        del content[section]
    for section, keys in _WITHOUT_EFFECT.items():
        for key in keys:
            del content[section][key]
    options = {key: value for key, value in content["method"].items() if key not in _RATES}
    content["method"] = options | {"name": content.pop("method_name"), "kind": type(config.method).__name__}
    for section, values in resolved.items():
        content[section] |= values
    return content


def identity(effective: Mapping[str, Any]) -> str:
    """Return the name of a run: 16 hexadecimal digits of a hash of its effective configuration."""
    canonical = json.dumps(effective, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
