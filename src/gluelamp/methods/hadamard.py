"""The Hadamard adapter (Chen et al., CIKM 2023, arXiv 2407.11033): an element-wise w and b on attention.

Only the paper's abstract and summaries by others were available. They give ``A' = w * A + b`` on the
attention's output before its Add & LayerNorm, the initial values w = 1 and b = 0, the trained normalisation,
and the two stages. Which point "the output" is and which LayerNorm is trained are options here.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Block, Handle
from gluelamp.errors import InputError
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inserted import InsertedModule
from gluelamp.methods.changes.tensors import replace_tensors, weight_and_bias
from gluelamp.methods.head_only import HeadOnly
from gluelamp.methods.phases import TrainingPhase

Position = Literal["attention_output", "attention_context"]
_NORMS = {
    "attention": ("attention.norm",),
    "output": ("ffn.norm",),
    "both": ("attention.norm", "ffn.norm"),
    "none": (),
}


class Hadamard(Method):
    """Scale and shift each attention's output element-wise, after a first stage with the head alone.

    Trained: 2 d per layer, and 2 d for each trained LayerNorm. With one of them, 4 d L is 0.034 % of
    BERT base, nearest to the paper's 0.033 %; that in 8 of the 12 layers is its 0.022 %.

    Args:
        position: on the output of the output projection, before dropout; or on its input, the
            concatenated heads.
        norm: which LayerNorms are trained in each layer: that after attention, that after the
            feed-forward network (``output``), both or none.
        layers: numbers of the layers from 0, or None for all. The paper drops redundant layers; which
            ones is not in the available texts.
        stage1_epochs: passes over the training data with the head alone, at the head's learning rate. With 0
            everything is trained from the start. The number is our choice.
    """

    family: ClassVar[str] = "bias"
    reference: ClassVar[str] = "Chen et al., CIKM 2023, arXiv 2407.11033"
    checked_against: ClassVar[str] = "The formula and both merges (tests/methods/test_hadamard.py)."
    open_questions: ClassVar[str] = (
        "Position, which LayerNorm, and the epochs of the first stage: only summaries of the paper are "
        "available."
    )

    position: Position = "attention_output"
    norm: Literal["attention", "output", "both", "none"] = "attention"
    layers: tuple[int, ...] | None = None
    stage1_epochs: int = Field(default=1, ge=0)

    def phases(self) -> tuple[TrainingPhase, ...]:
        """Train the head first: the paper's first stage."""
        # The rate of the phase is that of the run, and acts on the head alone.
        head = TrainingPhase(HeadOnly(), "head_only", self.stage1_epochs)
        return (head,) if self.stage1_epochs else ()

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put w and b on each chosen layer, and train its LayerNorms."""
        blocks = self._chosen(parts)
        norms = [block[name].path for block in blocks for name in _NORMS[self.norm]]
        return [
            *(HadamardChange(block["attention.output"], self.position) for block in blocks),
            *replace_tensors(model, [f"{path}.{tensor}" for path in norms for tensor in ("weight", "bias")]),
        ]

    def _chosen(self, parts: Anatomy) -> list[Block]:
        count = len(parts.blocks)
        layers = range(count) if self.layers is None else self.layers
        if not layers or not set(layers) <= set(range(count)):
            raise InputError(
                f"method.layers={list(layers)} does not name layers of this encoder. Allowed: one or "
                f"more of 0 to {count - 1}, or null for all."
            )
        return [parts.blocks[number] for number in sorted(set(layers))]


class ElementWise(nn.Module):
    """``w * h + b``, with w = 1 and b = 0 at the start.

    Args:
        width: d, the size of w and b.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return hidden states (..., d), scaled and shifted."""
        return torch.addcmul(self.bias, hidden, self.weight)

    def before(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return a layer's input, scaled and shifted: a forward pre-hook of the layer."""
        return self(inputs[0])

    def after(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return a layer's output, scaled and shifted: a forward hook of the layer."""
        return self(output)


class HadamardChange(InsertedModule):
    """An `ElementWise` on the input or output of a square linear layer, into which it merges.

    Args:
        linear: the attention's output projection.
        position: its output or, for ``attention_context``, its input.
    """

    def __init__(self, linear: Handle, position: Position) -> None:
        self.vectors = vectors = ElementWise(len(linear.module.get_parameter("weight")))
        self.on_input = position == "attention_context"
        super().__init__(linear, vectors, vectors.after)
        # A hook before the layer replaces the one after it.
        if self.on_input:
            self._hook.remove()
            self._hook = linear.module.register_forward_pre_hook(vectors.before)

    def merge(self) -> None:
        """Scale the rows or, on the input, the columns of the weight, and add the shift to the bias."""
        weight, bias = weight_and_bias(self.handle)
        w, b = self.vectors.weight, self.vectors.bias
        with torch.no_grad():
            # The order matters: on the input, the bias needs the weight before it is scaled.
            # W (w * x + b) + bias.
            if self.on_input:
                bias.add_(weight @ b)
                weight.mul_(w)
            else:  # w * (W x + bias) + b
                bias.mul_(w).add_(b)
                weight.mul_(w[:, None])
        self.detach()
