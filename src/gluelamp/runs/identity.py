"""What makes two runs the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gluelamp.runs.config import RunConfig

# What cannot change a result, or is replaced by a checksum: where things lie, and how fast they run.
_WITHOUT_EFFECT = {
    "backbone": ("hub_id", "revision", "path", "wheel", "sha256", "shape"),
    "data": ("source", "root", "hub_timeout_s", "revision"),
    "trainer": ("device", "eval_batch_size", "checkpoint_steps", "learning_rate", "precision"),
    "method": ("learning_rate", "head_learning_rate"),
}


def identity(config: RunConfig, resolved: Mapping[str, Any]) -> str:
    """Return the name of a run: 16 hexadecimal digits of a hash.

    Args:
        config: of the run.
        resolved: what the configuration came to on this machine and data, such as checksums,
            learning rates and precision.
    """
    content = asdict(config)
    for section in ("results", "tracker", "on_existing"):
        del content[section]
    for section, keys in _WITHOUT_EFFECT.items():
        for key in keys:
            del content[section][key]
    content["method"]["kind"] = type(config.method).__name__
    content["resolved"] = dict(resolved)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
