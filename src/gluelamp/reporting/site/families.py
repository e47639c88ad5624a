"""Families of methods: one colour and one shape each, so that twenty methods can be told apart."""

from __future__ import annotations

from dataclasses import dataclass

from gluelamp.records import RunRecord
from gluelamp.reporting.rendering import Symbol


@dataclass(frozen=True)
class Family:
    """Methods that change a model in the same way.

    Args:
        name: for the legend.
        colour: of Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), which the colour-blind can read.
        shape: of Vega's symbols; it says the same as the colour.
        glyph: the character that looks like the shape.
        kinds: the classes of its methods, as records name them.
    """

    name: str
    colour: str
    shape: str
    glyph: str
    kinds: frozenset[str]

    @property
    def symbol(self) -> Symbol:
        """The symbol before a method's name."""
        return Symbol(self.name, self.colour, self.glyph)


FAMILIES = (
    Family("whole model, or head alone", "#808080", "cross", "✚", frozenset({"FullFineTuning", "HeadOnly"})),
    Family(
        *("biases and scales", "#e69f00", "square", "■"),
        frozenset(
            {"BitFit", "FeedForwardBias", "LayerNormTuning", "Hadamard", "AdapterBias", "IA3", "Ether"}
        ),
    ),
    Family(
        *("sparse masks", "#0072b2", "circle", "●"),
        frozenset({"PaFi", "Fish", "LtSft", "DiffPruning"}),
    ),
    Family(
        *("reparametrised weights", "#d55e00", "diamond", "◆"),
        frozenset({"HiWi", "LoRA", "LorettaRep", "Spt", "Peft"}),
    ),
    Family(
        *("adapters", "#009e73", "triangle-up", "▲"),
        frozenset(
            {"Houlsby", "Pfeiffer", "Parallel", "Compacter", "AdaMix", "PHA", "DyT", "LorettaAdp", "MAM"}
        ),
    ),
    Family("selected adapters", "#cc79a7", "triangle-down", "▼", frozenset({"XPeft"})),
    Family("prompts", "#56b4e9", "triangle-right", "▶", frozenset({"Prompt", "Prefix"})),
    Family("other", "#b8a200", "triangle-left", "◀", frozenset()),
)


def family_of(record: RunRecord) -> Family:
    """Return the family of a run's method; the last one for a method that no family names."""
    kind = record.config["method"].get("kind")
    return next((family for family in FAMILIES if kind in family.kinds), FAMILIES[-1])
