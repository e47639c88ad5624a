"""The tuners and options of ``peft`` that keep the promises of this suite, and why others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gluelamp.errors import unknown

TYPES = (
    *("BOFT", "C3A", "DEFT", "DELORA", "DORA", "FOURIERFT", "GLORA", "GRALORA", "HIRA", "HRA", "LOHA"),
    *("LOKR", "LORA", "MISS", "OFT", "PEANUT", "PVERA", "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING"),
    *("VERA", "WAVEFT"),
)
"""The tuners that can be asked for: each was seen to pass the test matrix."""

PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {"DORA": ("LORA", {"use_dora": True})}
"""Tuners that ``peft`` has as options of another: its type, and the options."""

_REFUSED_TYPES = {
    "it changes the inputs, not linear layers; take method=prompt or method=prefix": (
        *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"),
    ),
    "it is made for the attention of LLaMA": ("ADAPTION_PROMPT",),
    "it must be called after each step of the training, to share out its budget": ("ADALORA",),
    "the shapes of what it trains come from the backbone's values, which are not there when it is counted": (
        *("ADAMSS",),
    ),
    "it needs trained adapters, a second network or the number of the task": ("XLORA", "SHADOW", "POLY"),
    "it trains rows of the embeddings, not linear layers": ("TRAINABLE_TOKENS",),
    "its routing averages over all tokens of a batch, padding among them": ("LILY",),
    "what it trains means nothing without singular vectors of the backbone, which are stored nowhere and "
    "differ in sign between machines": ("FROD", "OSF", "PSOFT"),
    "its layers share one trained tensor, which torch.func.functional_call does not put back": (
        *("TINYLORA", "UNILORA", "VBLORA"),
    ),
    "a layer without a bias cannot take it up; take method=bitfit": ("BEFT",),
    "it has places of its own; take method=ia3": ("IA3",),
    "it is made for LayerNorms; take method=layer_norm": ("LN_TUNING",),
}
_REFUSED_OPTIONS = {
    "method.targets says where the tuner acts": (
        *("target_modules", "target_parameters", "exclude_modules", "layers_to_transform"),
        *("layers_pattern", "layer_replication", "trainable_token_indices"),
    ),
    "the head is trained in any case, and no value of the backbone": ("bias", "modules_to_save"),
    "what a task stores is not left to peft": ("save_projection", "save_precomputed_indices"),
    "it needs data, a loss or a call that peft does not get here, or has no effect": (
        *("alora_invocation_tokens", "arrow_config", "corda_config", "ensure_weight_tying", "eva_config"),
        *("kasa_config", "loftq_config", "lora_ga_config", "megatron_config", "megatron_core"),
        *("monteclora_config", "qalora_group_size", "runtime_config", "use_bdlora", "use_qalora"),
        *("velora_config", "init_lora_weights=eva", "init_lora_weights=lora_ga"),
    ),
    "a forward pass would write trained values": ("coft", "eps"),
    "what it draws would not follow the seed of the run": ("generator_seed",),
    "an evaluation must give the same twice": ("sample_at_inference",),
    "without a CUDA extension peft takes 1 whatever is asked for": ("boft_n_butterfly_factor",),
    "it divides zero by zero at the start of the tuner": ("apply_GS",),
    "peft knows no other value than its default": ("mask_type",),
}


def check_type(name: str) -> None:
    """Refuse a tuner that cannot be served.

    Args:
        name: the tuner.

    Raises:
        ValueError: saying why, and what is allowed.
    """
    reason = _reason(_REFUSED_TYPES, name)
    if reason:
        raise ValueError(
            f"method.type={name} cannot be served: {reason}. Or take one of these types: {', '.join(TYPES)}"
        )
    if name not in TYPES:
        raise ValueError(str(unknown("method.type", name, TYPES)).removesuffix("."))


def check_option(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse an option that a tuner does not have, or that breaks a promise.

    Args:
        name: the option.
        value: that it was given.
        allowed: the fields of the tuner's configuration.

    Raises:
        ValueError: saying why, or what is allowed.
    """
    reason = _reason(_REFUSED_OPTIONS, name) or _reason(_REFUSED_OPTIONS, f"{name}={value}")
    if reason:
        raise ValueError(f"method.options: {name}={value!r} is not allowed: {reason}. Leave it out")
    known = [option for option in allowed if not _reason(_REFUSED_OPTIONS, option)]
    if name not in known:
        raise ValueError(f"method.options: {unknown('option', name, known)}".removesuffix("."))


def _reason(refused: Mapping[str, Collection[str]], name: str) -> str | None:
    return next((reason for reason, names in refused.items() if name in names), None)
