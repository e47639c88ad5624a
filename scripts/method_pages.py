#!/usr/bin/env python3
"""Write docs/methods.md and docs/capabilities.md: python scripts/method_pages.py."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    # after the arguments: --help answers before torch is loaded
    from gluelamp.cli.method_pages import write_method_pages

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_method_pages(Path(__file__).parent.parent / "docs")
