#!/usr/bin/env python3
"""Add printed numbers to results/published: gluelamp publish file=FILE.csv paper=pafi_hiwi."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("publish")
