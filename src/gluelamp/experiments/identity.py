"""The identity of a run: a hash of all settings that can change its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gluelamp.tasks.config import CUSTOM_OPTIONS

if TYPE_CHECKING:  # a report reads identities and must not load the methods
    from gluelamp.experiments.config import RunConfig

# Settings that cannot change a result: where files are, and how fast a run is. Data and backbone are
# identified by the checksums of their content instead, so that a run has the same name on every machine.
_WITHOUT_EFFECT = {
    "backbone": ("hub_id", "revision", "path", "wheel", "extra", "sha256", "shape"),
    "data": ("source", "root", "hub_timeout_s", "revision"),
    "trainer": ("device", "graphs", "eval_batch_size", "checkpoint_steps"),
    # Files and columns of a user's own rows resolve to the declaration of the task, and to the fingerprint.
    "task": CUSTOM_OPTIONS,
}

RUN_SEED = "${seed}"
"""Value, in an effective configuration, of a seed of the method that equals the run's seed.

It is the interpolation of the config files. Runs that differ in their seeds alone thus have equal settings.
"""

ADDED_LATER: Mapping[str, Mapping[str, Any]] = {
    "BitFit": {"pooler": False},
    "DiffPruning": {"pooler": False},
    "Fish": {"pooler": False},
    "LtSft": {"pooler": False, "rewind_head": False},
    "task": {"validation_from_train": None},
}
"""Options that were added after the first results, each with the behaviour that the code had before.

By section of the configuration or, for an option of a method, by the name of the method's class, such as
``{"trainer": {"ema_decay": None}, "PaFi": {"rescale": False}}``. An option with this value is left out of the
hash, so a run keeps the identity that it had before the option existed. The default may be another value.
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
            content[section].pop(key, None)  # a task of a benchmark names no files
    # two methods may have the same options, so the class is part of the identity
    content["method"] |= {"name": content.pop("method_name"), "kind": type(config.method).__name__}
    for section, found in resolved.items():
        content[section] |= found
    for option in config.method.seed_options:
        if content["method"][option] == config.seed:
            content["method"][option] = RUN_SEED
    for values, options in _added_later(content):
        for key, neutral in options.items():
            if key in values and values[key] == neutral:
                del values[key]
    return json.loads(json.dumps(content))  # JSON types only, as in the record: no tuples


def complete_config(effective: Mapping[str, Any]) -> dict[str, Any]:
    """Return an effective configuration with the options of `ADDED_LATER` that are not in it."""
    content = deepcopy(dict(effective))
    for section, options in _added_later(content):
        section.update({key: neutral for key, neutral in options.items() if key not in section})
    return content


def _added_later(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Yield each section of a configuration that has options of `ADDED_LATER`, with these options."""
    for name, options in ADDED_LATER.items():
        if name == content["method"]["kind"]:
            yield content["method"], options
        elif name in content:
            yield content[name], options


def identity(effective: Mapping[str, Any]) -> str:
    """Return the name of a run: 16 hexadecimal digits of a hash of its effective configuration."""
    # sorted and without spaces: the hash must not depend on the order of keys
    # 16 digits are 64 bits: among a million runs, two equal names have a probability of 3e-8
    canonical = json.dumps(effective, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
