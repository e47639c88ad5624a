"""Any of the tuners of Hugging Face ``peft`` that change linear layers: DoRA, VeRA, OFT and others."""

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
    "VBLORA",
    "VERA",
]
# Where the tuner acts is said by the targets; the head is ours, and the embeddings stay as they are.
_PLACES = {
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

    Not here are tuners that need more than the forward pass of a classifier: a schedule of their own
    (ADALORA), the number of the task (POLY), or prompts; and those that read the singular values of the
    backbone's weights.

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
        self._config(["everything"])
        return self

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put the tuner on each target of each block."""
        from gluelamp.methods.peft_tuner import PeftChange

        targets = linears(parts, self.targets)
        before = {target.path: _values(target) for target in targets}
        config = self._config([target.path for target in targets])
        try:
            change = PeftChange(model, config)
        except Exception as error:  # each tuner raises errors of its own kinds
            raise self._refused(error) from error
        if any(_differ(_values(target), before[target.path]) for target in targets):
            raise InputError(
                f"method.options={dict(self.options or {})} let {self.type} train or overwrite the "
                "backbone's own weights, which other tasks share. Leave out the option that does so, such as bias "
                "or a start from singular vectors."
            )
        return [change]

    @property
    def _given(self) -> dict[str, Any]:
        return dict(self.options or {})

    def _config(self, targets: list[str]) -> PeftConfig:
        from peft import PeftConfig, PeftType
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        if self.type not in PeftType.__members__:
            raise InputError(f"method.type={self.type} is not in the installed peft. Install a newer one.")
        config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[self.type]]
        allowed = {field.name for field in fields(config)} - {field.name for field in fields(PeftConfig)}
        for option in self.options or {}:
            if option not in allowed - _PLACES:
                raise unknown(f"method.options: the option of {self.type}", option, allowed - _PLACES)
        if (self.options or {}).get("boft_n_butterfly_factor", 1) != 1:
            raise InputError(
                "method.options: boft_n_butterfly_factor must be 1, its default. More factors need a CUDA "
                "extension of peft, without which it takes 1 whatever is asked for."
            )
        try:
            return config(target_modules=targets, **(self.options or {}))  # type: ignore[call-arg]  # as all have
        except Exception as error:  # each configuration raises errors of its own kinds
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> InputError:
        given = dict(self.options or {})
        return InputError(f"method.options={given} do not suit {self.type}. In the words of peft: {error}")


def _values(target: Handle) -> list[tuple[Tensor, bool]]:
    return [(value.detach().clone(), value.requires_grad) for value in target.module.parameters()]


def _differ(now: list[tuple[Tensor, bool]], before: list[tuple[Tensor, bool]]) -> bool:
    return any(
        opened or not (value.is_meta or torch.equal(value, old))
        for (value, opened), (old, _) in zip(now, before, strict=True)
    )
