"""The charts of the page and the figures, as Vega-Lite specifications, and how they look.

Scores are in percent. Families have the same colour and shape in all charts and tables. The parameter
``highlight``, which the page sets, is the name of a method: the marks of all other methods fade.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt

from gluelamp.reporting.rendering import Symbol

Rows = Sequence[Mapping[str, Any]]
Width = int | Literal["container"]

COSTS = {"stored_bytes": "bytes stored for the task", "trained": "trained parameters"}
GREY = "#808080"
_STATES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
_HEIGHT = 250
_ROW_HEIGHT = 18
# Channels are objects, not strings or dictionaries: Altair takes long to find the class of each of these.
# `highlight` is null until the reader selects a method. All other marks then fade, but stay visible.
_OPACITY = alt.OpacityValue(
    0.1, condition={"test": "highlight === null || datum.method === highlight", "value": 1}
)
_DASHES = [2, 3]


@dataclass(frozen=True)
class Family:
    """Methods that change a model in the same way.

    Args:
        name: for the legend.
        colour: of Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), which colour-blind readers can
            distinguish.
        shape: of Vega's symbols; redundant with the colour.
        glyph: the character of the same shape.
    """

    name: str
    colour: str
    shape: str
    glyph: str

    @property
    def symbol(self) -> Symbol:
        """The symbol before a method's name in a table."""
        return Symbol(self.name, self.colour, self.glyph)


FAMILIES = {
    "full": Family("full model, or head alone", "#808080", "cross", "✚"),
    "bias": Family("biases and scales", "#e69f00", "square", "■"),
    "sparse": Family("sparse masks", "#0072b2", "circle", "●"),
    "reparametrization": Family("reparametrised weights", "#d55e00", "diamond", "◆"),
    "adapter": Family("adapters", "#009e73", "triangle-up", "▲"),
    "selected adapter": Family("selected adapters", "#cc79a7", "triangle-down", "▼"),
    "prompt": Family("prompts", "#56b4e9", "triangle-right", "▶"),
    "other": Family("other", "#b8a200", "triangle-left", "◀"),
}
"""By the family that a method's class declares and a record holds; in the order of the page."""


def trade_off(
    rows: Rows, cost: str, families: Sequence[Family], title: str, width: Width = "container"
) -> alt.LayerChart:
    """Return the scores of one task against a cost on a logarithmic axis.

    Args:
        rows: one per method, with ``method``, ``family``, ``score``, ``low``, ``high``, ``interval`` (text),
            ``seeds``, the cost, ``front`` (whether no method is both cheaper and better) and ``label``
            (whether there is space for its name). A method without cost is a horizontal line.
        cost: one of `COSTS`.
        families: of this chart and of the charts next to it.
        title: of the task.
        width: in pixels, or as wide as the page has space for.
    """
    chart = alt.Chart(alt.Data(values=list(rows)))
    # A logarithmic axis has no zero, so methods without cost are horizontal lines across the chart.
    paid, free = (chart.transform_filter(f"datum.{cost} {sign} 0") for sign in (">", "=="))
    x = alt.X(f"{cost}:Q", title=COSTS[cost]).scale(type="log", padding=30).axis(format="~s", tickCount=4)
    y = _score("score")
    facts = [*_facts(), alt.Tooltip("interval:N"), alt.Tooltip(f"{cost}:Q", format=",", title=COSTS[cost])]
    colour, shape = _scales(families)
    marks = {"color": colour, "opacity": _OPACITY, "tooltip": facts}
    label = {"text": alt.Text("method:N"), "opacity": _OPACITY}
    across = [
        free.mark_rule(strokeDash=_DASHES, stroke=GREY).encode(y=y, opacity=_OPACITY, tooltip=facts),
        free.mark_text(align="right", dy=-6).encode(x=alt.XValue("width"), y=y, **label),
    ]
    # Later layers cover earlier ones: the front, the intervals, the points and at last the names.
    layers = [
        paid.transform_filter("datum.front")
        .mark_line(interpolate="step-after", strokeWidth=1, stroke=GREY)
        .encode(x=x, y=y),
        paid.mark_rule(strokeWidth=1.2).encode(x=x, y=_score("low"), y2=alt.Y2("high:Q"), **marks),
        paid.mark_point(filled=True, size=70).encode(x=x, y=y, shape=shape, **marks),
        paid.transform_filter("datum.label || datum.method === highlight")
        .mark_text(align="right", dx=-6, dy=-7)
        .encode(x=x, y=y, **label),
    ]
    is_free = any(row[cost] == 0 for row in rows)
    return _layered([*across, *layers] if is_free else layers, title, width)


def learning_curves(
    rows: Rows, families: Sequence[Family], title: str, width: Width = "container"
) -> alt.LayerChart:
    """Return the score of one task after each evaluation.

    Args:
        rows: one per method and evaluation, with ``method``, ``family``, ``epoch``, ``score`` and ``seeds``.
        families: of this chart and of the charts next to it.
        title: of the task.
        width: in pixels, or as wide as the page has space for.
    """
    chart = alt.Chart(alt.Data(values=list(rows)))
    x = alt.X("epoch:Q", title="epoch").axis(tickMinStep=1, grid=False)
    colour, shape = _scales(families)
    facts = [*_facts(), alt.Tooltip("epoch:Q")]
    marks = {"x": x, "y": _score("score"), "color": colour, "opacity": _OPACITY, "tooltip": facts}
    lines = chart.mark_line(strokeWidth=1.6).encode(detail=alt.Detail("method:N"), **marks)
    points = chart.mark_point(filled=True, size=28).encode(shape=shape, **marks)
    return _layered([lines, points], title, width)


def latency(rows: Rows, states: Sequence[str], title: str, width: Width = "container") -> alt.LayerChart:
    """Return the ratio of a forward pass to that of the bare backbone.

    Args:
        rows: one per method and state, from top to bottom, with ``method``, ``state``, ``value``, ``low``,
            ``high`` and ``interval`` (text).
        states: of this chart and of the charts next to it.
        title: of the measurement.
        width: in pixels, or as wide as the page has space for.
    """
    # The rule at 1 has data of its own: with the chart's data it would be rendered once per row.
    rule = alt.Chart(alt.Data(values=[{}])).mark_rule(stroke=GREY, strokeDash=_DASHES).encode(x=alt.XDatum(1))
    layers = _intervals(rows, states, "ratio", "time / time of the bare backbone", ".3f")
    return _layered([rule, *layers], title, width, height=_rows_height(rows))


def search_budget(
    rows: Rows, budgets: Sequence[str], title: str, width: Width = "container"
) -> alt.LayerChart:
    """Return the expected best score of some numbers of trials.

    Args:
        rows: one per method and budget, from top to bottom, with ``method``, ``state`` (the budget),
            ``value``, ``low``, ``high`` and ``interval`` (text).
        budgets: of this chart.
        title: of the search.
        width: in pixels, or as wide as the page has space for.
    """
    # The intervals of one method overlap, so each budget has a line of its own within the method's row.
    offset = alt.YOffset("state:N").scale(domain=budgets)
    layers = [
        layer.encode(yOffset=offset)
        for layer in _intervals(rows, budgets, "score", "expected best score", ".1f")
    ]
    return _layered(layers, title, width, height=2 * _rows_height(rows))


def _intervals(rows: Rows, states: Sequence[str], name: str, axis: str, format: str) -> list[alt.Chart]:
    """Return a point with its interval for each method and state, a row per method."""
    chart = alt.Chart(alt.Data(values=list(rows)))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    y = alt.Y("method:N", sort=methods, title=None).axis(labelLimit=150, grid=True)
    colour = alt.Color("state:N", title=None).scale(domain=states, range=_STATES[: len(states)])
    shape = alt.Shape("state:N", title=None).scale(domain=states)
    facts = [
        *(alt.Tooltip("method:N"), alt.Tooltip("state:N")),
        *(alt.Tooltip("value:Q", format=format, title=name), alt.Tooltip("interval:N")),
    ]
    marks = {"y": y, "color": colour, "opacity": _OPACITY, "tooltip": facts}
    low, value = (
        alt.X(f"{field}:Q", title=axis).scale(zero=False).axis(tickCount=5) for field in ("low", "value")
    )
    return [
        chart.mark_rule(strokeWidth=1.5).encode(x=low, x2=alt.X2("high:Q"), **marks),
        chart.mark_point(filled=True, size=60).encode(x=value, shape=shape, **marks),
    ]


def _rows_height(rows: Rows) -> int:
    return _ROW_HEIGHT * (len({row["method"] for row in rows}) + 1)


def _layered(layers: Sequence[alt.Chart], title: str, width: Width, height: int = _HEIGHT) -> alt.LayerChart:
    # A parameter of the whole chart, so that one signal of the page reaches every layer.
    highlight = alt.param(name="highlight", value=None)
    return (
        alt.LayerChart(layer=list(layers))
        .add_params(highlight)
        .properties(title=title, width=width, height=height)
    )


def _score(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title=None).scale(zero=False)


def _facts() -> list[Any]:
    names = [alt.Tooltip("method:N"), alt.Tooltip("family:N")]
    return [*names, alt.Tooltip("score:Q", format=".2f"), alt.Tooltip("seeds:Q")]


def _scales(families: Sequence[Family]) -> tuple[alt.Color, alt.Shape]:
    # Fixed domains: without them a family's colour would depend on which families a task has.
    # The shape repeats the colour for print and for readers who cannot distinguish colours.
    names = [family.name for family in families]
    colour = alt.Color("family:N", title=None).scale(domain=names, range=[one.colour for one in families])
    shape = alt.Shape("family:N", title=None).scale(domain=names, range=[one.shape for one in families])
    return colour, shape


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart as Vega-Lite, without a theme."""
    return dict(json.loads(chart.to_json()))


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
