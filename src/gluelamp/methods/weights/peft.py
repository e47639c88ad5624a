"""The tuners of Hugging Face ``peft`` that change linear layers: DoRA, VeRA, OFT, SHiRA and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as validated
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.errors import InputError, unknown
from gluelamp.methods.adaptation import Change
from gluelamp.methods.method import Method
from gluelamp.methods.weights.linears import Target, linears

if TYPE_CHECKING:
    from peft import PeftConfig

Tuner = Literal[
    "BOFT",
    "C3A",
    "FOURIERFT",
    "HRA",
    "LOHA",
    "LOKR",
    "LORA",
    "MISS",
    "OFT",
    "RANDLORA",
    "ROAD",
    "SHIRA",
    "VERA",
]
# Where the tuner acts is said by the targets; the head is ours, and no value of the backbone is trained.
_OURS = {
    "bias",
    "target_modules",
    "target_parameters",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "layer_replication",
    "modules_to_save",
    "trainable_token_indices",
}


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Peft(Method):
    """Put a tuner of ``peft`` on some linear layers of each block.

    Trained, on query and value: VERA 2 L (r + d), SHIRA 4 L d r, HRA 2 L d r, LORA with ``use_dora``
    4 L d r + 2 L d, OFT 2 L d (k - 1) / 2 with blocks of size k, BOFT 2 L d (k + 1), RANDLORA
    2 L (r n + n d) with n = ceil(d / r). VeRA's and RandLoRA's random matrices and SHiRA's places are
    shared between tasks.

    Others are refused: they need more than the loss of a classifier (ADALORA the number of all steps,
    POLY that of the task), cannot be merged (LILY), read the values of the backbone even to be counted
    (ADAMSS, FROD), have a file of their own here (IA3, LN_TUNING, prompts), or are not tried.

    Args:
        type: the tuner, by ``peft``'s name.
        targets: the linear layers.
        options: of ``peft``'s configuration of the tuner; its defaults for the others, or for all if None.
    """

    type: Tuner = "VERA"
    targets: tuple[Target, ...] = Field(default=("query", "value"), min_length=1)
    options: Mapping[str, Any] | None = None

    @model_validator(mode="after")
    def _peft_knows_the_options(self) -> Peft:
        from peft import PeftConfig

        config = _config_class(self.type)
        ours = {field.name for field in fields(PeftConfig)} | _OURS
        known = {field.name for field in fields(config)} - ours
        for option in self.options or {}:
            if option not in known:
                raise ValueError(f"method.options: {unknown('option', option, known)}".removesuffix("."))
        if (self.options or {}).get("boft_n_butterfly_factor", 1) != 1:
            raise ValueError(
                "method.options: boft_n_butterfly_factor must be 1, its default; more factors need a CUDA "
                "extension of peft, without which it takes 1 whatever is asked for"
            )
        try:
            config(**(self.options or {}))
        except Exception as error:  # each configuration raises errors of its own kinds
            raise ValueError(self._refusal(error)) from error
        return self

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put the tuner on each target of each block."""
        from gluelamp.methods.peft_tuner import PeftChange

        targets = linears(parts, self.targets)
        before = {target.path: _values(target) for target in targets}
        # all of these configurations have targets, but their common base has not
        config: Any = _config_class(self.type)(**(self.options or {}))
        config.target_modules = {target.path for target in targets}
        try:
            change = PeftChange(model, config)
        except Exception as error:  # each tuner raises errors of its own kinds
            raise InputError(f"{self._refusal(error)}.") from error
        if any(_differ(_values(target), before[target.path]) for target in targets):
            raise InputError(
                f"method.options={dict(self.options or {})} let {self.type} overwrite the backbone's own "
                "weights, which all tasks share. Leave out the option that does so, such as a start from "
                "singular vectors."
            )
        return [change]

    def _refusal(self, error: Exception) -> str:
        reason = str(error).removesuffix(".")
        return f"method.options={dict(self.options or {})} do not suit {self.type}; in peft's words: {reason}"


def _config_class(tuner: str) -> type[PeftConfig]:
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    if tuner not in PeftType.__members__:
        raise ValueError(f"method.type={tuner} is not in the installed peft; install a newer one")
    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[tuner]]


def _values(target: Handle) -> list[Tensor]:
    return [value.detach().clone() for value in target.module.parameters()]


def _differ(now: list[Tensor], before: list[Tensor]) -> bool:
    return any(not (value.is_meta or torch.equal(value, old)) for value, old in zip(now, before, strict=True))
