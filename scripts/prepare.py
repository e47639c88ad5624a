#!/usr/bin/env python3
"""Copy tasks to a local folder of checked Parquet: python scripts/prepare.py data=hub tasks=[cola,rte]."""

from __future__ import annotations

from typing import Any

from gluelamp.cli.app import names, path, run_app


def prepare(raw: dict[str, Any]) -> None:
    """Copy the tasks of a composed configuration."""
    from gluelamp.experiments.config import parse
    from gluelamp.tasks.catalogue import known_task
    from gluelamp.tasks.config import DataConfig
    from gluelamp.tasks.data import prepare as copy

    tasks = [known_task(name) for name in names(raw["tasks"], "tasks")]
    copy(tasks, parse(DataConfig, raw["data"], "data"), path(raw["destination"], "destination"))


if __name__ == "__main__":
    run_app(prepare, "prepare")
