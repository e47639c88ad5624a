"""LoRA (Hu et al., ICLR 2022, arXiv 2106.09685), as implemented by Hugging Face ``peft``."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.adaptation import Change
from gluelamp.methods.method import Method

Target = Literal["query", "key", "value", "attention_output", "up", "down"]
_HANDLES = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "attention_output": "attention.output",
    "up": "ffn.up",
    "down": "ffn.down",
}


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LoRA(Method):
    """Add ``alpha / r * B A`` to some projections; A is drawn, B starts at zero.

    Trained on query and value: 4 L d r values.

    Args:
        rank: r.
        alpha: numerator of the scaling.
        dropout: on the input of A.
        targets: the projections; query and value as in the paper's GLUE runs.
    """

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Target, ...] = ("query", "value")

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put LoRA on each target of each block."""
        from peft import LoraConfig

        from gluelamp.methods.peft_tuner import PeftChange

        names = [block[_HANDLES[target]].path for block in parts.blocks for target in self.targets]
        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=names
        )
        return [PeftChange(model, config)]
