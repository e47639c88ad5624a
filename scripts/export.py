#!/usr/bin/env python3
"""Merge a finished run into a plain model: python scripts/export.py method=pafi export.destination=DIR."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("export")
