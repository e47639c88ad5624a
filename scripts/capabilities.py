#!/usr/bin/env python3
"""Find out what each method can do, and write docs/capabilities.md: python scripts/capabilities.py."""

from __future__ import annotations

import logging
from typing import Any

from gluelamp.cli.app import run_app


def try_methods(raw: dict[str, Any]) -> None:
    """Try the methods of a composed configuration."""
    from gluelamp.cli.capabilities import parse_capabilities, write_capabilities

    logging.getLogger(__name__).info("%s", write_capabilities(parse_capabilities(raw)))


if __name__ == "__main__":
    run_app(try_methods, "capabilities")
