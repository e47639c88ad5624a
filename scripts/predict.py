#!/usr/bin/env python3
"""Write the test server's files of a finished run: gluelamp predict method=pafi task=cola."""

from __future__ import annotations

from gluelamp.cli.main import run

if __name__ == "__main__":
    run("predict")
