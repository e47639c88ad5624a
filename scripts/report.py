#!/usr/bin/env python3
"""Regenerate tables, figures and the page from the records alone: python scripts/report.py what=[report]."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gluelamp.cli.app import names, path, run_app


def report(raw: dict[str, Any]) -> None:
    """Write the tables of a results folder, and its page with the figures."""
    from gluelamp.errors import InputError, unknown
    from gluelamp.reporting import write_tables
    from gluelamp.reporting.site import write_report

    writers: dict[str, Callable[[Path, Path], list[Path]]] = {
        "tables": write_tables,
        "report": write_report,
    }
    chosen = names(raw["what"], "what")
    for name in chosen:
        if name not in writers:
            raise unknown("what", name, writers)
    root, published = path(raw["results"]["root"], "results.root"), path(raw["published"], "published")
    if not published.is_dir():
        raise InputError(
            f"published={published} is no folder; name that of the papers' numbers, as results/published is."
        )
    for name in chosen:
        for written in writers[name](root, published):
            logging.getLogger(__name__).info("%s", written)


if __name__ == "__main__":
    run_app(report, "report")
