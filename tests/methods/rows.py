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
        overrides: of the leaf's fields.
        merges: whether it can be written into the backbone's own parameters.
        starts_as_backbone: whether its outputs at the start are those of the bare model.
        trains_pooler: whether a pre-trained pooler is trained with the head.
        on: the architectures of the row.
        refuses: architectures that it cannot serve, with what the message names.
    """

    leaf: str
    trains: Names
    overrides: tuple[str, ...] = ()
    merges: bool = True
    starts_as_backbone: bool = True
    trains_pooler: bool = False
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
INSERTED = {"merges": False, "starts_as_backbone": False}

BANK = ("num_adapters=10", "top_k=4")

NO_QUERY = {"modernbert": "'attention.query'"}
NO_NORM = {"modernbert": "'ffn.norm'"}
NO_UP = {"modernbert": "'ffn.up'"}

ROWS = (
    Row("full", of("", "values"), trains_pooler=True),
    Row("head_only", nothing),
    Row("bitfit", of(r"\.bias$", "values"), refuses={"modernbert": "has none"}),
    # Of 30 %, some entries lie in every tensor but the LayerNorms' gains, which are far from zero.
    Row("pafi", of(r"(?i)^(?!.*norm\.weight$)", "delta"), ("density=0.3",)),
    Row("pafi", of("", "delta"), ("density=0.05", "scope=per_tensor"), on=TWO),
    Row(
        "pafi",
        of(r"(?i)^(?!.*(norm\.weight$|embeddings))", "delta"),
        ("density=0.2", "exclude=embeddings"),
        on=TWO,
    ),
    Row("hiwi", at("ffn.up ffn.down", "bias.down bias.up"), refuses=NO_UP),
    Row("hiwi_weight", at("ffn.up ffn.down", "weight.down weight.up"), refuses=NO_UP),
    Row(
        "hiwi_weight",
        at("ffn.down", "weight.down weight.up"),
        ("layers=down", "activation=tanh", "scale=2.0"),
        on=TWO,
    ),
    Row("lora", at("attention.query attention.value", LORA), ("rank=2",), refuses=NO_QUERY),
    Row(
        "lora",
        at("attention.output ffn.down", LORA),
        ("targets=[attention_output,down]", "dropout=0.1"),
        on=TWO,
    ),
    Row("houlsby", both(ADAPTERS, NORMS), ("bottleneck=8",), **INSERTED),
    Row("houlsby", ADAPTERS, ("train_layer_norm=false",), on=TWO, **INSERTED),
    Row("pfeiffer", at("ffn.norm", LINEAR), refuses=NO_NORM, **INSERTED),
    Row("xpeft", MASKS, BANK, refuses=NO_NORM, **INSERTED),
    Row(
        "xpeft",
        both(MASKS, INNER),
        (*BANK, "normalise_hard=none", "gumbel_tau=1.0", "inner_layer_norm=true"),
        on=("bert",),
        **INSERTED,
    ),
    Row("xpeft_soft", MASKS, BANK, refuses=NO_NORM, **INSERTED),
)
