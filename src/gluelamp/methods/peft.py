"""The tuners of Hugging Face ``peft`` that change linear layers: DoRA, VeRA, OFT, SHiRA and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as validated
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.linears import Target, linears
from gluelamp.methods.peft_limits import PRESETS, check_option, check_type


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Peft(Method):
    """Put a tuner of ``peft`` on some linear layers of each block.

    Trained, on query and value: VERA 2 L (r + d), SHIRA 4 L d r, HRA 2 L d r, DORA 4 L d r + 2 L d, OFT
    L d (k - 1) with blocks of size k, BOFT 2 L d (k + 1), RANDLORA 2 L (r n + n d) with n = ceil(d / r).
    VeRA's and RandLoRA's random matrices and SHiRA's places come from a seed of their own, an option: all
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
    def _peft_can_do_it_here(self) -> Peft:
        from peft import PeftConfig

        check_type(self.type)
        config, _ = _recipe(self.type)
        allowed = {field.name for field in fields(config)} - {field.name for field in fields(PeftConfig)}
        for option, value in (self.options or {}).items():
            check_option(option, value, allowed)
        try:
            self._config()
        except Exception as error:  # each configuration raises errors of its own kinds
            raise ValueError(self._refusal(error)) from error
        return self

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put the tuner on each target of each block."""
        from gluelamp.methods.changes.peft import PeftChange

        config = self._config()
        config.target_modules = {target.path for target in linears(parts, self.targets)}
        try:
            return [PeftChange(model, config)]
        except Exception as error:  # each tuner raises errors of its own kinds
            raise InputError(f"{self._refusal(error)}.") from error

    def _config(self) -> Any:
        config, preset = _recipe(self.type)
        return config(**{**preset, **(self.options or {})})

    def _refusal(self, error: Exception) -> str:
        reason = str(error).strip().removesuffix(".")
        return f"method.options={dict(self.options or {})} do not suit method.type={self.type}: {reason}"


def _recipe(name: str) -> tuple[Any, Mapping[str, Any]]:  # PeftConfig knows no targets, its heirs here do
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    peft_type, preset = PRESETS.get(name, (name, {}))
    if peft_type not in PeftType.__members__:
        raise ValueError(f"method.type={name} is not in the installed peft; install a newer one")
    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[peft_type]], preset
