#!/usr/bin/env python3
"""Export a finished run: gluelamp export method=lora format=peft destination=DIR."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("export")
