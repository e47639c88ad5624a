"""How charts look: one configuration of Vega-Lite for light pages and figures, and one for dark pages."""

from __future__ import annotations

from typing import Any


def _theme(ink: str, quiet: str, lines: str, paper: str) -> dict[str, Any]:
    axis = {
        **{"labelColor": quiet, "titleColor": quiet, "gridColor": lines, "domainColor": lines},
        **{"tickColor": lines, "titleFontWeight": "normal", "labelFontSize": 11, "titleFontSize": 11},
    }
    return {
        "background": paper,
        "font": "Liberation Sans, Arial, sans-serif",
        "view": {"stroke": None},
        "axis": axis,
        "axisX": {"grid": False},
        "title": {"color": ink, "anchor": "start", "frame": "group", "fontSize": 13, "offset": 12},
        "text": {"color": ink, "fontSize": 11},
        "legend": {"labelColor": ink, "titleColor": quiet, "orient": "bottom", "symbolSize": 60},
        "header": {"labelColor": ink, "titleColor": ink},
    }


LIGHT = _theme(ink="#1b1f24", quiet="#59636e", lines="#e2e5e9", paper="#ffffff")
DARK = _theme(ink="#e6e9ed", quiet="#9aa4af", lines="#30363d", paper="transparent")
