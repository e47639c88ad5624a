#!/usr/bin/env python3
"""Regenerate results/tables from the records alone: python scripts/report.py results.root=results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from gluelamp.runs.app import run_app


def report(raw: dict[str, Any]) -> None:
    """Write the tables of a results folder."""
    from gluelamp.reporting.tables import write_tables

    for path in write_tables(Path(raw["results"]["root"]), Path(raw["published"])):
        logging.getLogger(__name__).info("%s", path)


if __name__ == "__main__":
    run_app(report, "report")
