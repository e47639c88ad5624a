#!/usr/bin/env python3
"""Add printed numbers to results/published: python scripts/publish.py file=FILE.csv paper=pafi_hiwi."""

from __future__ import annotations

import logging
from typing import Any

from gluelamp.cli.app import CONFIGS, path, run_app


def publish(raw: dict[str, Any]) -> None:
    """Merge a CSV file of printed scores into those of one paper."""
    from gluelamp.reporting.publish import add_published

    known = [{leaf.stem for leaf in (CONFIGS / group).glob("*.yaml")} for group in ("method", "backbone")]
    folder = path(raw["published"], "published")
    added = add_published(path(raw["file"], "file"), str(raw["paper"]), folder, *known)
    logging.getLogger(__name__).info("%d new rows in %s", added, folder / f"{raw['paper']}.csv")


if __name__ == "__main__":
    run_app(publish, "publish")
