"""The tables of scores, one file each: the rows, and the page that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from gluelamp.records import RunRecord
from gluelamp.reporting.rendering import Table, Text, texts


def failed_runs(failed: Sequence[RunRecord]) -> Table:
    """Return the table of the failed runs, with their messages."""
    configs = [record.config for record in failed]
    lines = [
        [
            *(config.backbone.name, config.method.name, config.task.name, str(config.seed)),
            record.error or "no message",
        ]
        for config, record in zip(configs, failed, strict=True)
    ]
    columns = texts("backbone", "method", "task", "seed", "error")
    return Table("Failed runs", columns, [[Text(text) for text in line] for line in sorted(lines)])
