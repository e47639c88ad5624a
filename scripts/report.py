#!/usr/bin/env python3
"""Write tables, figures and the page from the records alone: python scripts/report.py what=[report]."""

from __future__ import annotations

from gluelamp.cli.app import run_app
from gluelamp.cli.commands import report

if __name__ == "__main__":
    run_app(report, "report")
