"""The test matrix: one row a method or variant, with the facts that it declares of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gluelamp.backbones.anatomy import Anatomy

ARCHITECTURES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "mpnet", "modernbert")
TWO = ("bert", "modernbert")  # enough for a variant: one post-LN and one pre-LN encoder

Names = Callable[[Anatomy], set[str]]


@dataclass(frozen=True)
class Row:
    """One method or variant, fit to the tiny size, and its facts.

    Args:
        config: file in ``configs/method``.
        trains: full names of the trained tensors, from the bare model's anatomy; None for the deltas
            at the positions that the method's phases chose.
        overrides: of the method's options.
        merges: whether it can be written into the backbone's own parameters.
        starts_as_backbone: whether its outputs at the start are those of the bare model.
        trains_pooler: whether a pre-trained pooler is trained with the head.
        on: the architectures of the row.
        refuses: architectures that it cannot serve, with what the message names.
        alone_on: architectures on which several profiles cannot pass together.
    """

    config: str
    trains: Names | None
    overrides: tuple[str, ...] = ()
    merges: bool = True
    starts_as_backbone: bool = True
    trains_pooler: bool = False
    on: tuple[str, ...] = ARCHITECTURES
    refuses: Mapping[str, str] = field(default_factory=dict)
    alone_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.config, *self.overrides])


def at(handles: str, values: str) -> Names:
    """Name each of some values at each of some handles of each block."""
    return lambda parts: {
        f"{block[handle].path}.{value}"
        for block in parts.blocks
        for handle in handles.split()
        for value in values.split()
    }


def at_first(handle: str, value: str) -> Names:
    """Name one value at one handle of the first block."""
    return lambda parts: {f"{parts.blocks[0][handle].path}.{value}"}


def of(pattern: str, value: str) -> Names:
    """Name one value at each parameter of the encoder whose name matches a pattern."""
    return lambda parts: {f"{name}.{value}" for name in parts.encoder_parameters if re.search(pattern, name)}


def both(first: Names, second: Names) -> Names:
    return lambda parts: first(parts) | second(parts)


def tuner(kind: str, options: str, trains: str, **facts: Any) -> Row:
    """Declare a tuner of peft on query and value, by default of BERT, by the names of what it trains."""
    overrides = (f"type={kind}", f"options={{{options}}}")
    return Row("peft", at("attention.query attention.value", trains), overrides, **{"on": ("bert",), **facts})


def nothing(_: Anatomy) -> set[str]:
    return set()


def shared_shifts(parts: Anatomy) -> set[str]:
    """Name each block's vector, and the first block's alpha."""
    first = parts.blocks[0]["ffn.branch"].path
    return {name for name in SHIFTS(parts) if name.startswith(first) or name.endswith("vector")}


NORMS = of(r"(?i)norm\.(weight|bias)$", "values")
LORA = "lora_A.default.weight lora_B.default.weight"
LOHA = " ".join(f"hada_w{factor}_{side}.default" for factor in (1, 2) for side in "ab")
GLORA = " ".join(f"glora_{term}.default.{side}" for term in "ABC" for side in ("Xd", "Xu"))
LINEAR = "adapter.down.weight adapter.down.bias adapter.up.weight adapter.up.bias"
ADAPTERS = at("attention.branch ffn.branch", LINEAR)
MASKS = at("ffn.norm", "adapter.mask_down.logits adapter.mask_up.logits")
INNER = at("ffn.norm", "adapter.norm.weight adapter.norm.bias")
INSERTED = {"merges": False, "starts_as_backbone": False}

LINEARS = "attention.query attention.key attention.value attention.output ffn.up ffn.down"
ONE_SIDE = "adapter.input.u.vectors"
TWO_SIDES = " ".join(f"adapter.{side}.{vector}.vectors" for side in ("input", "output") for vector in "uv")
TRAINS = " ".join(f"adapter.{train}.matrix.cores.{core}" for train in "AB" for core in range(3))
TT_PROJECTIONS = " ".join(
    f"adapter.{projection}.{value}"
    for projection in ("down", "up")
    for value in ("matrix.cores.0", "matrix.cores.1", "matrix.cores.2", "bias")
)

KRONECKER = " ".join(
    f"adapter.{projection}.{value}" for projection in ("down", "up") for value in ("left", "right", "bias")
)
COMPACTER = both(at("attention.branch ffn.branch", KRONECKER), at_first("attention.branch", "adapter.rule"))
COMPACTER_PLUS = both(at("ffn.branch", KRONECKER), at_first("ffn.branch", "adapter.rule"))
DISPATCHED = " ".join(
    f"adapter.{value}.{tensor}"
    for value in ("dispatcher.score", "adapter.down", "adapter.up")
    for tensor in ("weight", "bias")
)

BESIDE = at("ffn.branch", LINEAR)
MADE = "embeddings down.weight down.bias up.0.weight up.0.bias up.1.weight up.1.bias"

HYPER = " ".join(
    f"{layer}.{tensor}"
    for layer in ("join.0", "join.2", "join.3", "down_weight.0", "down_bias.0", "up_weight.0", "up_bias.0")
    for tensor in ("weight", "bias")
)
HYPER = f"prototypes.weight blocks.weight {HYPER}"


def input_of(name: str, values: str) -> Names:
    """Name some values of a learned input, which is a submodule of the embeddings."""
    return lambda parts: {f"{parts.embeddings.path}.{name}.{value}" for value in values.split()}


NORM = "weight.values bias.values"
EMBEDDING_NORM = of(r"(?i)embeddings.*norm\.(weight|bias)$", "values")
HADAMARD = at("attention.output", "adapter.weight adapter.bias")
ALPHA = "adapter.alpha.weight adapter.alpha.bias"
SHIFTS = at("ffn.branch", f"adapter.vector {ALPHA}")

SLOW_GATES = ("density=0.3", "gate_learning_rate=1e-4")  # the tester's steps are large
BANK = ("num_adapters=10", "top_k=4")

# Structure at every target and nothing else, so there is no choice: the count of the row's budget is known.
FOUR = ("bert", "roberta", "distilbert", "mpnet")  # of nearly one size
NO_VECTORS = ("alpha=1e6", "exclude='embeddings|bias|Norm|_norm'")
TWO_TARGETS = "targets=[attention_output,down]"
PAIR = "adapter.down.weight adapter.up.weight"

NO_KEY = {"modernbert": "'attention.key'"}
NO_ATTENTION_NORM = {"modernbert": "'attention.norm'"}
NO_QUERY = {"modernbert": "'attention.query'"}
ON_ALL: Mapping[str, Any] = {"on": ARCHITECTURES, "refuses": NO_QUERY}
NO_NORM = {"modernbert": "'ffn.norm'"}
NO_UP = {"modernbert": "'ffn.up'"}
NO_FUNCTION = dict.fromkeys(("deberta-v2", "mpnet"), "'attention.function'")

# Values that are not each read by one module as rows of a batch pass through it.
ALONE: Mapping[str, Any] = {"alone_on": ARCHITECTURES}
# Query, key and a LayerNorm of DeBERTa also read the relative positions, which all rows share.
NOT_DEBERTA: Mapping[str, Any] = {"alone_on": ("deberta-v2",)}

ROWS = (
    Row("full", of("", "values"), trains_pooler=True, alone_on=("deberta-v2", "mpnet")),
    Row("head_only", nothing),
    Row("bitfit", of(r"\.bias$", "values"), refuses={"modernbert": "has none"}, **NOT_DEBERTA),
    # Of 30 %, some entries lie in every tensor but the LayerNorms' gains, which are far from zero.
    Row("pafi", of(r"(?i)^(?!.*norm\.weight$)", "delta"), ("density=0.3",), **ALONE),
    Row("pafi", of("", "delta"), ("density=0.05", "scope=per_tensor"), on=TWO, **ALONE),
    Row(
        "pafi",
        of(r"(?i)^(?!.*(norm\.weight$|embeddings))", "delta"),
        ("density=0.2", "exclude=embeddings"),
        on=TWO,
        **ALONE,
    ),
    Row("sparse_random", of("", "delta"), ("density=0.3",), **ALONE),
    Row("sparse_largest", of("", "delta"), ("density=0.07", "scope=per_tensor"), **ALONE),
    Row("sparse_middle", of("", "delta"), ("density=0.05", "scope=per_tensor"), on=TWO, **ALONE),
    Row("fish", None, ("density=0.3", "examples=8"), **ALONE),
    Row("fish", None, ("density=0.95", "counts_head=true", "labels=expected"), on=TWO, **ALONE),
    Row("lt_sft", None, ("density=0.3",), **ALONE),
    Row("diff_pruning", None, SLOW_GATES, starts_as_backbone=False, **ALONE),
    Row("diff_pruning", None, (*SLOW_GATES, "structured=false"), on=TWO, starts_as_backbone=False, **ALONE),
    Row("spt_lora", at(LINEARS, PAIR), ("density=0.32", *NO_VECTORS), on=FOUR, refuses=NO_QUERY),
    # Thresholds so high that there is no structure: single entries alone.
    Row("spt_lora", None, ("density=0.3", "alpha=0.01", "beta=0.5"), on=("bert",), **ALONE),
    Row("spt_lora", at(LINEARS, PAIR), ("density=0.35", *NO_VECTORS), on=("electra",)),
    Row("spt_lora", at(LINEARS, PAIR), ("density=0.335", *NO_VECTORS), on=("deberta-v2",), **NOT_DEBERTA),
    Row(
        "spt_lora",
        at("attention.output ffn.down", PAIR),
        ("density=0.104", *NO_VECTORS, TWO_TARGETS),
        on=("modernbert",),
    ),
    Row(
        "spt_lora",
        both(at(LINEARS, PAIR), of(r"layer\.\d.*(bias|Norm\.weight)$", "values")),
        ("density=0.3586", "alpha=1e6", "beta=1e6", "head_warmup_epochs=1"),
        on=("bert",),
    ),
    Row(
        "spt_adapter",
        at(LINEARS, LINEAR),
        ("density=0.345", *NO_VECTORS),
        on=FOUR,
        merges=False,
        refuses=NO_QUERY,
    ),
    Row("spt_adapter", at(LINEARS, LINEAR), ("density=0.38", *NO_VECTORS), on=("electra",), merges=False),
    Row(
        "spt_adapter",
        at(LINEARS, LINEAR),
        ("density=0.36", *NO_VECTORS),
        on=("deberta-v2",),
        merges=False,
        **NOT_DEBERTA,
    ),
    Row(
        "spt_adapter",
        at("attention.output ffn.down", LINEAR),
        ("density=0.09", *NO_VECTORS, TWO_TARGETS),
        on=("modernbert",),
        merges=False,
    ),
    Row("layer_norm", NORMS, **NOT_DEBERTA),
    Row("ffn_bias", at("ffn.up ffn.down", "bias.values"), refuses=NO_UP),
    Row("hiwi", at("ffn.up ffn.down", "bias.down bias.up"), refuses=NO_UP),
    Row(
        "hiwi",
        at("ffn.down", "bias.down bias.up"),
        ("layers=down",),
        on=("bert",),
        refuses={"modernbert": r"'model\.layers\.0\.mlp\.Wo' has no bias, which method\.target=bias adapts"},
    ),
    Row("hiwi_weight", at("ffn.up ffn.down", "weight.down weight.up"), refuses=NO_UP),
    Row(
        "hiwi_weight",
        at("ffn.down", "weight.down weight.up"),
        ("layers=down", "activation=tanh", "scale=2.0"),
        on=TWO,
    ),
    Row("lora", at("attention.query attention.value", LORA), ("rank=2",), refuses=NO_QUERY, **NOT_DEBERTA),
    Row(
        "lora",
        at("attention.output ffn.down", LORA),
        ("targets=[attention_output,down]", "dropout=0.1"),
        on=TWO,
    ),
    Row(
        "peft",
        at("attention.output ffn.down", "vera_lambda_b.default vera_lambda_d.default"),
        ("type=VERA", "targets=[attention_output,down]", "options={r:4}"),
    ),
    tuner("DORA", "r:2", f"{LORA} lora_magnitude_vector.default.weight", **ON_ALL, **ALONE),
    tuner("OFT", "oft_block_size:8,module_dropout:0.2", "oft_R.default.weight", **ON_ALL, **ALONE),
    tuner("LORA", "r:2,use_rslora:true", LORA),
    tuner("VERA", "r:4,vera_dropout:0.1", "vera_lambda_b.default vera_lambda_d.default"),
    tuner("RANDLORA", "r:4", "randlora_lambda.default randlora_gamma.default", **ALONE),
    tuner("BOFT", "boft_block_size:4", "boft_R.default boft_s.default"),
    tuner("HRA", "r:4", "hra_u.default", starts_as_backbone=False),
    tuner("SHIRA", "r:2", "shira_weight.default", **ALONE),
    tuner("C3A", "block_size:8", "c3a_kernel.default", starts_as_backbone=False, **ALONE),
    tuner("FOURIERFT", "n_frequency:50", "fourierft_spectrum.default", starts_as_backbone=False, **ALONE),
    tuner("WAVEFT", "n_frequency:50", "waveft_spectrum.default", **ALONE),
    tuner("LOHA", "r:2,rank_dropout:0.2", LOHA, **ALONE),
    tuner("LOKR", "r:2", "lokr_w1.default lokr_w2_a.default lokr_w2_b.default"),
    tuner("MISS", "r:4", "miss_block.default"),
    tuner("ROAD", "group_size:8", "road_alpha.default road_theta.default"),
    tuner("DEFT", "r:4", "deft_P.default deft_R.default", starts_as_backbone=False),
    tuner("DELORA", "r:4", "delora_A.default delora_B.default delora_lambda.default"),
    tuner("GLORA", "r:4", f"{GLORA} glora_D.default.X glora_E.default.X", **ALONE),
    tuner("GRALORA", "r:4", "gralora_A.default gralora_B.default"),
    tuner("HIRA", "r:4", "hira_A.default hira_B.default"),
    tuner("PEANUT", "r:4", "peanut_A.default.weight peanut_B.default.weight", **ALONE),
    tuner("PVERA", "r:4", "pvera_lambda_b.default pvera_lambda_d.default"),
    tuner("SUPERTUNING", "sparsity:0.9", "supertuning_values.default"),
    Row("ia3", at("attention.key attention.value ffn.down", "ia3_l.default"), refuses=NO_KEY, **NOT_DEBERTA),
    Row("hadamard", both(HADAMARD, at("attention.norm", NORM)), refuses=NO_ATTENTION_NORM),
    Row(
        "hadamard",
        both(HADAMARD, at("attention.norm ffn.norm", NORM)),
        ("position=attention_context", "norm=both", "stage1_epochs=0"),
        refuses=NO_ATTENTION_NORM,
    ),
    Row("hadamard", HADAMARD, ("norm=none",), on=("modernbert",), merges=False),
    Row("adapter_bias", both(SHIFTS, both(at("ffn.norm", NORM), EMBEDDING_NORM)), refuses=NO_NORM),
    Row("adapter_bias", shared_shifts, ("share_alpha=true", "train_layer_norm=false"), on=("bert",)),
    Row("adapter_bias", SHIFTS, ("train_layer_norm=false",), on=("modernbert",), merges=False),
    Row("houlsby", both(ADAPTERS, NORMS), ("bottleneck=8",), **INSERTED, **NOT_DEBERTA),
    Row("houlsby", ADAPTERS, ("train_layer_norm=false",), on=TWO, **INSERTED),
    Row("pfeiffer", at("ffn.norm", LINEAR), refuses=NO_NORM, **INSERTED),
    # As large as in training: at the paper's start an adapter hardly moves a bit of the outputs.
    Row("compacter", COMPACTER, ("reduction_factor=8", "rule_std=0.1"), **INSERTED),
    Row(
        "compacter",
        both(COMPACTER, NORMS),
        ("summands=2", "reduction_factor=16", "rule_std=0.1", "train_layer_norm=true"),
        on=TWO,
        **INSERTED,
    ),
    Row("compacter_plus", COMPACTER_PLUS, ("reduction_factor=8", "rule_std=0.1"), **INSERTED),
    Row("adamix", at("ffn.down", LINEAR), ("bottleneck=8",), **INSERTED),
    Row(
        "adamix",
        at("ffn.down", LINEAR),
        ("experts=3", "share_up=false", "consistency=mse"),
        on=TWO,
        **INSERTED,
    ),
    Row("adamix", at("ffn.down", LINEAR), ("consistency=none",), on=TWO, **INSERTED),
    Row("dyt", at("ffn.branch", DISPATCHED), ("bottleneck=8",), **INSERTED),
    Row(
        "dyt",
        at("ffn.branch", DISPATCHED),
        ("complete_weight=0.0", "distillation_weight=0.0"),
        on=("bert",),
        **INSERTED,
    ),
    Row("parallel", BESIDE, ("bottleneck=8",), merges=False),
    Row("pha", input_of("adapter", HYPER), ("bottleneck=8", "embedding_size=16"), **INSERTED, **ALONE),
    Row("prefix", input_of("prefix", "values"), refuses=NO_FUNCTION, **INSERTED, **ALONE),
    Row("prefix", input_of("prefix", MADE), ("length=3", "bottleneck=4"), on=TWO, **INSERTED, **ALONE),
    Row("prompt", input_of("prompt", "values"), **INSERTED, **ALONE),
    Row(
        "mam",
        both(BESIDE, input_of("prefix", MADE)),
        ("prefix_bottleneck=8",),
        refuses=NO_FUNCTION,
        **INSERTED,
        **ALONE,
    ),
    Row("xpeft", MASKS, BANK, refuses=NO_NORM, **INSERTED),
    Row(
        "xpeft",
        both(MASKS, INNER),
        (*BANK, "normalise_hard=none", "gumbel_tau=1.0", "inner_layer_norm=true"),
        on=("bert",),
        **INSERTED,
    ),
    Row("xpeft", MASKS, (*BANK, "banks=shared"), on=("bert",), **INSERTED),
    Row("xpeft_soft", MASKS, BANK, refuses=NO_NORM, **INSERTED),
    Row("ether", at(LINEARS, ONE_SIDE), starts_as_backbone=False, refuses=NO_QUERY, **NOT_DEBERTA),
    Row(
        "ether",
        at("attention.output ffn.down", ONE_SIDE),
        ("targets=[attention_output,down]", "blocks=4", "dropout=0.1"),
        starts_as_backbone=False,
        on=TWO,
    ),
    Row("ether_plus", at(LINEARS, TWO_SIDES), refuses=NO_QUERY, **NOT_DEBERTA),
    Row(
        "ether_plus",
        at("attention.output ffn.down", TWO_SIDES),
        ("targets=[attention_output,down]", "blocks=4"),
        on=TWO,
    ),
    Row(
        "loretta_rep",
        at("attention.query attention.value", TRAINS),
        starts_as_backbone=False,
        refuses=NO_QUERY,
        **NOT_DEBERTA,
    ),
    Row(
        "loretta_rep",
        both(at("attention.output ffn.down", TRAINS), NORMS),
        ("targets=[attention_output,down]", "identity_start=true", "train_layer_norm=true"),
        on=TWO,
    ),
    Row("loretta_adp", at("attention.output ffn.down", TT_PROJECTIONS), ("bottleneck=8",), **INSERTED),
    Row(
        "loretta_adp",
        both(at("attention.output ffn.down", TT_PROJECTIONS), NORMS),
        ("bottleneck=8", "identity_start=true", "train_layer_norm=true"),
        merges=False,
        on=TWO,
    ),
)

# The first row of each config on each architecture, for tests that are too slow for every variant.
ONE_OF_EACH = {
    (row.config, architecture): row
    for row in reversed(ROWS)
    for architecture in row.on
    if architecture not in row.refuses
}
