"""(IA)3 (Liu et al., NeurIPS 2022, arXiv 2205.05638), as implemented by Hugging Face ``peft``."""

from __future__ import annotations

from typing import ClassVar

from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change


class IA3(Method):
    """Rescale keys, values and inner feed-forward activations: ``l_k * K``, ``l_v * V``, ``W2 (l_ff * g)``.

    All vectors start at one. g is the inner activation after its nonlinearity. Trained: L (2 d + f),
    the paper's set. The default target of ``peft`` for BERT also matches the attention's output
    projection, which gives L (3 d + f).
    """

    family: ClassVar[str] = "bias"
    reference: ClassVar[str] = "Liu et al., NeurIPS 2022, arXiv 2205.05638"
    checked_against: ClassVar[str] = "Rescaled rows and columns in float64 (tests/methods/test_ia3.py)."
    open_questions: ClassVar[str] = (
        "The default of `peft` for BERT has another target than the paper. The paper's is taken."
    )

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Rescale the outputs of key and value, and the input of the down projection."""
        from peft import IA3Config

        from gluelamp.methods.changes.peft import PeftChange

        # peft scales the output of its targets, and the input of its feed-forward modules.
        rows = [block[name].path for block in parts.blocks for name in ("attention.key", "attention.value")]
        columns = [block["ffn.down"].path for block in parts.blocks]
        config = IA3Config(target_modules=rows + columns, feedforward_modules=columns)
        return [PeftChange(model, config)]
