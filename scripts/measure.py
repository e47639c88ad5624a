#!/usr/bin/env python3
"""Count, time or certify: gluelamp measure -m backbone=minilm,roberta_large what=parameters."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("measure")
