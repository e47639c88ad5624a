#!/usr/bin/env python3
"""Copy tasks to a local folder of checked Parquet: gluelamp prepare data=hub tasks=[cola,rte]."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("prepare")
