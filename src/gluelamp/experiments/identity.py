"""The identity of a run: a hash of all settings that can change its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gluelamp.experiments.config import RunConfig

# Settings that cannot change a result: where files are, and how fast a run is. Data and backbone are
# identified by the checksums of their content instead, so that a run has the same name on every machine.
_WITHOUT_EFFECT = {
    "backbone": ("hub_id", "revision", "path", "wheel", "sha256", "shape"),
    "data": ("source", "root", "hub_timeout_s", "revision"),
    "trainer": ("device", "graphs", "eval_batch_size", "checkpoint_steps"),
}

ADDED_LATER: Mapping[str, Mapping[str, Any]] = {}
"""Options that were added after the first results, each with the value that changes nothing.

By section of the configuration or, for an option of a method, by the name of the method's class, such as
``{"trainer": {"ema_decay": None}, "PaFi": {"rescale": False}}``. An option with this value is left out of the
hash, so a run that does not use the option keeps the identity that it had before the option existed.
"""


def effective_config(config: RunConfig, resolved: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return all settings that can change a run's result, as nested plain values.

    Args:
        config: of the run.
        resolved: by section, what the configuration resolves to with this machine and data, such as
            checksums, learning rates and precision. It replaces what was written.
    """
    content = asdict(config)
    for section in ("results", "tracker", "on_existing"):
        del content[section]
    for section, keys in _WITHOUT_EFFECT.items():
        for key in keys:
            del content[section][key]
    # two methods may have the same options, so the class is part of the identity
    method_class = type(config.method).__name__
    content["method"] |= {"name": content.pop("method_name"), "kind": method_class}
    for section, values in resolved.items():
        content[section] |= values
    for name, options in ADDED_LATER.items():
        section = content["method"] if name == method_class else content.get(name, {})
        for key, neutral in options.items():
            if key in section and section[key] == neutral:
                del section[key]
    return json.loads(json.dumps(content))  # JSON types only, as in the record: no tuples


def identity(effective: Mapping[str, Any]) -> str:
    """Return the name of a run: 16 hexadecimal digits of a hash of its effective configuration."""
    # sorted and without spaces: the hash must not depend on the order of keys
    # 16 digits are 64 bits: among a million runs, two equal names have a probability of 3e-8
    canonical = json.dumps(effective, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
