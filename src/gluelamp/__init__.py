"""gluelamp: parameter-efficient fine-tuning (PEFT), and the GLUE/LaMP reproduction suite.

    import gluelamp as gl
    adapted = gl.PaFi(density=0.005).adapt(model)

Names are imported when they are first used, so that ``import gluelamp`` loads neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULE_OF = {
    "InputError": "errors",
    "export": "exporting",
    **dict.fromkeys(("measure", "method", "results", "train", "trained"), "api"),
    "compare": "reporting.compare",
    "methods": "methods",
    "Method": "methods.base",
    "Adaptation": "methods.adaptation",
    "Selection": "methods.selection",
    **dict.fromkeys(("Summary", "read_selection"), "methods.storage"),
    "AdaMix": "methods.adamix",
    "AdapterBias": "methods.adapter_bias",
    "BitFit": "methods.bitfit",
    "Compacter": "methods.compacter",
    "DiffPruning": "methods.diff_pruning",
    "DyT": "methods.dyt",
    "Ether": "methods.ether",
    "FeedForwardBias": "methods.ffn_bias",
    "Fish": "methods.fish",
    "FullFineTuning": "methods.full",
    "Hadamard": "methods.hadamard",
    "HeadOnly": "methods.head_only",
    "HiWi": "methods.hiwi",
    "Houlsby": "methods.houlsby",
    "IA3": "methods.ia3",
    "LayerNormTuning": "methods.layer_norm",
    "LoRA": "methods.lora",
    "LorettaAdp": "methods.loretta",
    "LorettaRep": "methods.loretta",
    "LtSft": "methods.lt_sft",
    "MAM": "methods.mam",
    "PaFi": "methods.pafi",
    "Parallel": "methods.parallel",
    "Peft": "methods.peft",
    "Pfeiffer": "methods.pfeiffer",
    "PHA": "methods.pha",
    "Prefix": "methods.prefix",
    "Prompt": "methods.prompt",
    "Spt": "methods.spt",
    "XPeft": "methods.xpeft",
}
# The papers' spelling of three methods. Records store the names of the classes, which therefore stay.
_SPELLINGS = {"FISH": "Fish", "LTSFT": "LtSft", "XPEFT": "XPeft"}

__all__ = ["__version__", *sorted([*_MODULE_OF, *_SPELLINGS])]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    own = _SPELLINGS.get(name, name)
    if own not in _MODULE_OF:
        raise AttributeError(f"module 'gluelamp' has no attribute {name!r}; it has: {', '.join(__all__)}")
    module = import_module(f"{__name__}.{_MODULE_OF[own]}")
    # `methods` is a package, which can be called; all other names are in a module.
    value = globals()[name] = module if own == "methods" else getattr(module, own)
    return value


def __dir__() -> list[str]:
    return [*__all__]
