"""The command that trains a recorded run again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gluelamp.records import RunRecord


def command(records: Sequence[RunRecord]) -> str:
    """Return the command line that gives runs of these identities again.

    Args:
        records: runs that differ in their seeds only, at least one.
    """
    config = records[0].config
    names = [f"{key}={getattr(config, key).name}" for key in ("backbone", "method", "task")]
    names.append(f"data={records[0].data.source}")
    seeds = ",".join(str(record.config.seed) for record in records)
    sweep = ["-m"] if len(records) > 1 else []
    words = [*sweep, *(records[0].overrides or names), f"seed={seeds}"]
    return shlex.join(["python", "scripts/train.py", *words])
