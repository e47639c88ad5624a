#!/usr/bin/env python3
"""Write docs/capabilities.md, the costs and limits of each method: python scripts/capabilities.py."""

from __future__ import annotations

import logging
from pathlib import Path

if __name__ == "__main__":
    from gluelamp.cli.capabilities import write_capabilities

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_capabilities(Path(__file__).parent.parent / "docs" / "capabilities.md")
