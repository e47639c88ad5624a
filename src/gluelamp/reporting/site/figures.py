"""The charts of the page as files: PNG to show, SVG to edit, PDF to print."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import altair as alt

from gluelamp.reporting.site.panels import Panels
from gluelamp.reporting.site.theme import LIGHT

_WIDTH = 360  # pixels a chart
_COLUMNS = 2
_SCALE = 1.5  # of the PNG


def figure_files(folder: Path, name: str, panels: Panels) -> dict[Path, bytes]:
    """Return the content of the files of one figure.

    Args:
        folder: where they will lie.
        name: of the files, without their endings.
        panels: its charts.
    """
    spec = figure(panels)
    return {folder / f"{name}.{ending}": convert(spec) for ending, convert in _FORMATS.items()}


def figure(panels: Panels) -> dict[str, Any]:
    """Return one specification with all charts, beside and below each other, and a legend."""
    sized = [chart.properties(width=_WIDTH) for chart in panels.charts]
    whole = alt.concat(*sized, columns=_COLUMNS, title=panels.title)
    return specification(whole)


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart as Vega-Lite; the page and the figures add a theme."""
    return dict(json.loads(chart.to_json()))


def _svg(spec: dict[str, Any]) -> bytes:
    import vl_convert

    return vl_convert.vegalite_to_svg(spec, config=LIGHT).encode()


def _png(spec: dict[str, Any]) -> bytes:
    import vl_convert

    return vl_convert.vegalite_to_png(spec, config=LIGHT, scale=_SCALE)


def _pdf(spec: dict[str, Any]) -> bytes:
    """The converter writes objects in a random order: they are put in order of use."""
    import pikepdf
    import vl_convert

    ordered = io.BytesIO()
    with pikepdf.open(io.BytesIO(vl_convert.vegalite_to_pdf(spec, config=LIGHT))) as document:
        document.save(ordered, deterministic_id=True)
    return ordered.getvalue()


_FORMATS: Mapping[str, Callable[[dict[str, Any]], bytes]] = {"svg": _svg, "png": _png, "pdf": _pdf}
