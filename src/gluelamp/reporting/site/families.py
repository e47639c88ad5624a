"""Families of methods on the page: one colour and one shape each, the same in every table and chart."""

from __future__ import annotations

from dataclasses import dataclass

from gluelamp.reporting.rendering import Symbol


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
    "reparametrization": Family("reparametrized weights", "#d55e00", "diamond", "◆"),
    "adapter": Family("adapters", "#009e73", "triangle-up", "▲"),
    "selected adapter": Family("selected adapters", "#cc79a7", "triangle-down", "▼"),
    "prompt": Family("prompts", "#56b4e9", "triangle-right", "▶"),
    "other": Family("other", "#b8a200", "triangle-left", "◀"),
}
"""By the family that a method's class declares and a record holds; in the order of the page."""
