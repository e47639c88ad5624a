#!/usr/bin/env python3
"""Train one run, or with -m a sweep: gluelamp train method=pafi task=cola seed=0."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("train")
