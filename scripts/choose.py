#!/usr/bin/env python3
"""Try several methods on your data, and say which one to take: gluelamp choose task.train=my.csv."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("choose")
