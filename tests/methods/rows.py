"""The test matrix: one row a method or variant, with the facts that it declares of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gluelamp.backbones.anatomy import Anatomy

ARCHITECTURES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "mpnet", "modernbert")
TWO = ("bert", "modernbert")  # enough for a variant: one post-LN and one pre-LN encoder

Names = Callable[[Anatomy], set[str]]


@dataclass(frozen=True)
class Row:
    """One method or variant, fit to the tiny size, and its facts.

    Args:
        leaf: file in ``configs/method``.
        trains: full names of the trained tensors, from the bare model's anatomy.
        merges: whether it can be written into the backbone's own parameters.
        starts_as_backbone: whether its outputs at the start are those of the bare model.
        overrides: of the leaf's fields.
        on: the architectures of the row.
        refuses: architectures that it cannot serve, with what the message names.
    """

    leaf: str
    trains: Names
    merges: bool
    starts_as_backbone: bool
    overrides: tuple[str, ...] = ()
    on: tuple[str, ...] = ARCHITECTURES
    refuses: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.leaf, *self.overrides])


def at(handles: str, values: str) -> Names:
    """Name each of some values at each of some handles of each block."""
    return lambda parts: {
        f"{block[handle].path}.{value}"
        for block in parts.blocks
        for handle in handles.split()
        for value in values.split()
    }


def of(pattern: str, value: str) -> Names:
    """Name one value at each parameter of the encoder whose name matches a pattern."""
    return lambda parts: {f"{name}.{value}" for name in parts.encoder_parameters if re.search(pattern, name)}


def both(first: Names, second: Names) -> Names:
    return lambda parts: first(parts) | second(parts)


def nothing(_: Anatomy) -> set[str]:
    return set()


NORMS = of(r"(?i)norm\.(weight|bias)$", "values")
LORA = "lora_A.default.weight lora_B.default.weight"
LINEAR = "adapter.down.weight adapter.down.bias adapter.up.weight adapter.up.bias"
ADAPTERS = at("attention.branch ffn.branch", LINEAR)
MASKS = at("ffn.norm", "adapter.mask_down.logits adapter.mask_up.logits")
INNER = at("ffn.norm", "adapter.norm.weight adapter.norm.bias")
BANK = ("num_adapters=10", "top_k=4")

NO_NORM = {"modernbert": "'ffn.norm'"}
NO_UP = {"modernbert": "'ffn.up'"}

ROWS = (
    Row("full", of("", "values"), merges=True, starts_as_backbone=True),
    Row("head_only", nothing, merges=True, starts_as_backbone=True),
    Row(
        *("bitfit", of(r"\.bias$", "values")),
        **{"merges": True, "starts_as_backbone": True, "refuses": {"modernbert": "has none"}},
    ),
    Row(  # a gain of a LayerNorm is never among the smallest 30 %, and some entry of each other tensor is
        *("pafi", of(r"(?i)^(?!.*norm\.weight$)", "delta")),
        **{"merges": True, "starts_as_backbone": True, "overrides": ("density=0.3",)},
    ),
    Row(
        *("pafi", of("", "delta")),
        **{"merges": True, "starts_as_backbone": True, "on": TWO},
        overrides=("density=0.05", "scope=per_tensor"),
    ),
    Row(
        *("pafi", of(r"(?i)^(?!.*(norm\.weight$|embeddings))", "delta")),
        **{"merges": True, "starts_as_backbone": True, "on": TWO},
        overrides=("density=0.2", "exclude=embeddings"),
    ),
    Row(
        *("hiwi", at("ffn.up ffn.down", "bias.down bias.up")),
        **{"merges": True, "starts_as_backbone": True, "refuses": NO_UP},
    ),
    Row(
        *("hiwi_weight", at("ffn.up ffn.down", "weight.down weight.up")),
        **{"merges": True, "starts_as_backbone": True, "refuses": NO_UP},
    ),
    Row(
        *("hiwi_weight", at("ffn.down", "weight.down weight.up")),
        **{"merges": True, "starts_as_backbone": True, "on": TWO},
        overrides=("layers=down", "activation=tanh", "scale=2.0"),
    ),
    Row(
        *("lora", at("attention.query attention.value", LORA)),
        **{"merges": True, "starts_as_backbone": True, "overrides": ("rank=2",)},
        refuses={"modernbert": "'attention.query'"},
    ),
    Row(
        *("lora", at("attention.output ffn.down", LORA)),
        **{"merges": True, "starts_as_backbone": True, "on": TWO},
        overrides=("targets=[attention_output,down]", "dropout=0.1"),
    ),
    Row(
        *("houlsby", both(ADAPTERS, NORMS)),
        **{"merges": False, "starts_as_backbone": False, "overrides": ("bottleneck=8",)},
    ),
    Row(
        *("houlsby", ADAPTERS),
        **{"merges": False, "starts_as_backbone": False, "on": TWO},
        overrides=("train_layer_norm=false",),
    ),
    Row(
        *("pfeiffer", at("ffn.norm", LINEAR)),
        **{"merges": False, "starts_as_backbone": False, "refuses": NO_NORM},
    ),
    Row(
        *("xpeft", MASKS),
        **{"merges": False, "starts_as_backbone": False, "overrides": BANK, "refuses": NO_NORM},
    ),
    Row(
        *("xpeft", both(MASKS, INNER)),
        **{"merges": False, "starts_as_backbone": False, "on": ("bert",)},
        overrides=(*BANK, "normalise_hard=k", "gumbel_tau=1.0", "inner_layer_norm=true"),
    ),
    Row(
        *("xpeft_soft", MASKS),
        **{"merges": False, "starts_as_backbone": False, "overrides": BANK, "refuses": NO_NORM},
    ),
)
