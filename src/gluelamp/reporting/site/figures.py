"""How charts look, and the charts of the page as files: PNG to show, SVG to edit, PDF to print."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import altair as alt

from gluelamp.reporting.site.panels import Panels

# Two charts of this width fit a column of text.
_WIDTH = 360  # pixels per chart
_COLUMNS = 2
_SCALE = 1.5  # of the PNG


def figure_files(folder: Path, name: str, panels: Panels) -> dict[Path, bytes]:
    """Return the content of the files of one figure.

    Args:
        folder: of the files.
        name: of the files, without their suffixes.
        panels: its charts.
    """
    import vl_convert  # slow to import

    # Drawing is the slow part. It is done once; the other formats are converted from the SVG.
    svg = vl_convert.vegalite_to_svg(figure(panels), config=LIGHT)
    return {
        folder / f"{name}.svg": svg.encode(),
        folder / f"{name}.png": vl_convert.svg_to_png(svg, scale=_SCALE),
        folder / f"{name}.pdf": _reproducible(vl_convert.svg_to_pdf(svg)),
    }


def figure(panels: Panels) -> dict[str, Any]:
    """Return one specification with all charts, in rows, and a legend."""
    charts = [chart.properties(width=_WIDTH) for chart in panels.charts]
    return specification(alt.concat(*charts, columns=_COLUMNS, title=panels.title))


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart as Vega-Lite, without a theme."""
    return dict(json.loads(chart.to_json()))


def _reproducible(pdf: bytes) -> bytes:
    """Return a PDF with the same bytes for the same chart: the converter writes objects in a random order."""
    import pikepdf

    ordered = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(ordered, deterministic_id=True)
    return ordered.getvalue()


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


# The colours are those of static/report.css.
LIGHT = _theme(ink="#1b1f24", quiet="#59636e", lines="#e2e5e9", paper="#ffffff")
"""Vega-Lite configuration of light pages and of figures."""
DARK = _theme(ink="#e6e9ed", quiet="#9aa4af", lines="#30363d", paper="transparent")
"""Vega-Lite configuration of dark pages."""
