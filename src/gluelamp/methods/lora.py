"""LoRA (Hu et al., ICLR 2022, arXiv 2106.09685), as implemented by Hugging Face ``peft``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.linears import Target, check_rank, linears


class LoRA(Method):
    """Add ``alpha / r * B A`` to linear layers. A is random at the start, B is zero.

    Trained on query and value: 4 L d r values.

    Args:
        rank: r.
        alpha: numerator of the scaling.
        dropout: on the input of A.
        targets: the linear layers; query and value as in the paper's GLUE runs.
    """

    family: ClassVar[str] = "reparametrization"
    reference: ClassVar[str] = "Hu et al., ICLR 2022, arXiv 2106.09685"
    checked_against: ClassVar[str] = (
        "`W + (alpha / r) B A` in one BERT layer in float64 (tests/methods/test_wiring.py), and the "
        "losses of `Trainer` with `peft` (tests/training/test_loss_parity.py)."
    )

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Target, ...] = Field(default=("query", "value"), min_length=1)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put LoRA on each target of each block.

        Raises:
            InputError: if a target is missing, or the rank is larger than that of its weight.
        """
        from peft import LoraConfig

        from gluelamp.methods.changes.peft import PeftChange

        targets = linears(parts, self.targets)
        check_rank(self.rank, targets)
        # peft divides alpha by the rank itself. Its dropout acts on the input of A.
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=[target.path for target in targets],
        )
        return [PeftChange(model, config)]
