"""The tuners of Hugging Face ``peft`` that change linear layers: DoRA, VeRA, OFT, SHiRA and others.

``TYPES`` lists the tuners that pass the test matrix. The other tuners and the options that break a promise of
this suite are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, ClassVar

from pydantic import Field, model_validator
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError, unknown
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.linears import Target, linears

TYPES = (
    *("BOFT", "C3A", "DEFT", "DELORA", "DORA", "FOURIERFT", "GLORA", "GRALORA", "HIRA", "HRA", "LOHA"),
    *("LOKR", "LORA", "MISS", "OFT", "PEANUT", "PVERA", "RANDLORA", "ROAD", "SHIRA", "SUPERTUNING"),
    *("VERA", "WAVEFT"),
)

PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {"DORA": ("LORA", {"use_dora": True})}
"""Tuners that ``peft`` has as options of another: its type, and the options."""

_REFUSED_TYPES = {
    "it changes the inputs, not linear layers; take method=prompt or method=prefix": (
        *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"),
    ),
    "it is made for the attention of LLaMA": ("ADAPTION_PROMPT",),
    "it must be called after each training step, to distribute its budget": ("ADALORA",),
    "the shapes of its trained tensors depend on the backbone's values, which do not exist when it is "
    "counted": ("ADAMSS",),
    "it needs trained adapters, a second network or the number of the task": ("XLORA", "SHADOW", "POLY"),
    "it trains rows of the embeddings, not linear layers": ("TRAINABLE_TOKENS",),
    "its routing averages over all tokens of a batch, including padding": ("LILY",),
    "its trained values depend on singular vectors of the backbone, which are not stored and differ in sign "
    "between machines": ("FROD", "OSF", "PSOFT"),
    "its layers share one trained tensor, which torch.func.functional_call does not restore": (
        *("TINYLORA", "UNILORA", "VBLORA"),
    ),
    "a layer without a bias cannot contain it; take method=bitfit": ("BEFT",),
    "it has its own target layers; take method=ia3": ("IA3",),
    "it is made for LayerNorms; take method=layer_norm": ("LN_TUNING",),
}
_REFUSED_OPTIONS = {
    "method.targets sets the target layers": (
        *("target_modules", "target_parameters", "exclude_modules", "layers_to_transform"),
        *("layers_pattern", "layer_replication", "trainable_token_indices"),
    ),
    "the head is always trained, and no value of the backbone is": ("bias", "modules_to_save"),
    "this suite defines what a task stores": ("save_projection", "save_precomputed_indices"),
    "it needs data, a loss or a call that peft does not get here, or has no effect": (
        *("alora_invocation_tokens", "arrow_config", "corda_config", "ensure_weight_tying", "eva_config"),
        *("kasa_config", "loftq_config", "lora_ga_config", "megatron_config", "megatron_core"),
        *("monteclora_config", "qalora_group_size", "runtime_config", "use_bdlora", "use_qalora"),
        *("velora_config", "init_lora_weights=eva", "init_lora_weights=lora_ga"),
    ),
    "a forward pass would overwrite trained values": ("coft", "eps"),
    "its random numbers would not follow the seed of the run": ("generator_seed",),
    "two evaluations must give the same result": ("sample_at_inference",),
    "without a CUDA extension peft always takes 1": ("boft_n_butterfly_factor",),
    "it divides zero by zero at the start of the tuner": ("apply_GS",),
    "peft has no other value than its default": ("mask_type",),
}


class Peft(Method):
    """Put a tuner of ``peft`` on linear layers of each block.

    Trained, on query and value: VERA 2 L (r + d), SHIRA 4 L d r, HRA 2 L d r, DORA 4 L d r + 2 L d, OFT
    L d (k - 1) with blocks of size k, BOFT 2 L d (k + 1), RANDLORA 2 L (r n + n d) with n = ceil(d / r).
    VeRA's and RandLoRA's random matrices and SHiRA's positions come from a seed of their own, an option: all
    tasks share them.

    Args:
        type: the tuner, by ``peft``'s name; or DORA, which is LORA with ``use_dora``.
        targets: the linear layers.
        options: of ``peft``'s configuration of the tuner; its defaults for the others, or for all if None.
    """

    family: ClassVar[str] = "reparametrization"
    reference: ClassVar[str] = "The paper of each tuner is named in the documentation of `peft`"
    checked_against: ClassVar[str] = (
        "`peft` alone: outputs, gradients and counts; merged weights in dense algebra "
        "(tests/methods/test_peft.py)."
    )
    open_questions: ClassVar[str] = "The reading of each paper is that of `peft`."

    type: str = "VERA"
    targets: tuple[Target, ...] = Field(default=("query", "value"), min_length=1)
    options: Mapping[str, Any] | None = None

    @model_validator(mode="after")
    def _peft_supports_it(self) -> Peft:
        # Imported here: peft takes seconds to import, and most methods do not need it.
        from peft import PeftConfig

        check_type(self.type)
        config, _ = _config_class(self.type)
        allowed = {field.name for field in fields(config)} - {field.name for field in fields(PeftConfig)}
        # Options of the tuner itself, without those that every peft configuration has.
        for option, value in (self.options or {}).items():
            check_option(option, value, allowed)
        try:
            self._config()
        except Exception as error:  # each configuration class raises its own kinds of errors
            raise ValueError(self._refusal(error)) from error
        return self

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put the tuner on each target of each block."""
        from gluelamp.methods.changes.peft import PeftChange

        config = self._config()
        # Full names, so that peft matches nothing outside the blocks.
        config.target_modules = {target.path for target in linears(parts, self.targets)}
        try:
            return [PeftChange(model, config)]
        except Exception as error:  # each tuner raises its own kinds of errors
            raise InputError(f"{self._refusal(error)}.") from error

    def _config(self) -> Any:
        config, preset = _config_class(self.type)
        return config(**{**preset, **(self.options or {})})

    def _refusal(self, error: Exception) -> str:
        reason = str(error).strip().removesuffix(".")
        return f"method.options={dict(self.options or {})} do not suit method.type={self.type}: {reason}"


def check_type(name: str) -> None:
    """Refuse a tuner that is not supported.

    Args:
        name: the tuner.

    Raises:
        ValueError: with the reason, and what is allowed.
    """
    reason = _reason(_REFUSED_TYPES, name)
    if reason:
        raise ValueError(
            f"method.type={name} is not supported: {reason}. Or take one of these types: {', '.join(TYPES)}"
        )
    if name not in TYPES:
        raise ValueError(str(unknown("method.type", name, TYPES)).removesuffix("."))


def check_option(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse an option that a tuner does not have, or that breaks a promise of this suite.

    Args:
        name: the option.
        value: its value.
        allowed: the fields of the tuner's configuration.

    Raises:
        ValueError: with the reason, or what is allowed.
    """
    reason = _reason(_REFUSED_OPTIONS, name) or _reason(_REFUSED_OPTIONS, f"{name}={value}")
    if reason:
        raise ValueError(f"method.options: {name}={value!r} is not allowed: {reason}. Leave it out")
    supported = [option for option in allowed if not _reason(_REFUSED_OPTIONS, option)]
    if name not in supported:
        raise ValueError(f"method.options: {unknown('option', name, supported)}".removesuffix("."))


def _reason(refused: Mapping[str, Collection[str]], name: str) -> str | None:
    return next((reason for reason, names in refused.items() if name in names), None)


def _config_class(name: str) -> tuple[Any, Mapping[str, Any]]:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    peft_type, preset = PRESETS.get(name, (name, {}))
    if peft_type not in PeftType.__members__:
        raise ValueError(f"method.type={name} is not in the installed peft; install a newer one")
    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[peft_type]], preset
