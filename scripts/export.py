#!/usr/bin/env python3
"""Merge a finished run into a plain model: python scripts/export.py method=pafi export.destination=DIR."""

from __future__ import annotations

from typing import Any

from gluelamp.cli.app import run_app


def export(raw: dict[str, Any]) -> None:
    """Write the merged model of a composed configuration."""
    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.export import ExportConfig, export_model

    choice = parse(ExportConfig, raw.pop("export"), "export")
    export_model(parse_run(raw), choice)


if __name__ == "__main__":
    run_app(export, "export")
