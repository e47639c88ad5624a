#!/usr/bin/env python3
"""Write tables, figures and the page from the records alone: gluelamp report what=[report]."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("report")
