"""The parallel adapter (He et al., ICLR 2022, arXiv 2110.04366): parallel to each feed-forward network."""

from __future__ import annotations

import math
from functools import partial
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.methods.base import Method
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.forms import InsertedAdapter
from gluelamp.methods.changes.inserted import Adapter, Bottleneck, InsertedModule


class Parallel(Method):
    """Add ``s up(ReLU(down(u)))`` to the output of each feed-forward network, where u is its input.

    Initialised like LoRA: down is random (Kaiming), up is zero, so that training starts from the backbone.
    Trained: L (2 d b + b + d).

    Args:
        bottleneck: b. The default is the size of a Pfeiffer adapter on BERT base; the authors take 512
            for generation, and 16 for GLUE together with a prefix (`gluelamp.methods.mam`).
        scale: s; 2 in the authors' GLUE script, 4 for generation.
        dropout: between the adapter's projections; the authors take the backbone's.
    """

    family: ClassVar[str] = "adapter"
    reference: ClassVar[str] = "He et al., ICLR 2022, arXiv 2110.04366"
    merges: ClassVar[bool] = False
    checked_against: ClassVar[str] = (
        "The `adapters` library: outputs and gradients at equal values "
        "(tests/methods/test_adapters_parity.py); the formula (tests/methods/test_parallel.py)."
    )

    bottleneck: int = Field(default=48, ge=1)
    scale: float = Field(default=2.0, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Put an adapter parallel to each network."""
        width = model.config.hidden_size
        return [
            ParallelModule(block["ffn.input"], block["ffn.branch"], self._adapter(width), self.scale)
            for block in parts.blocks
        ]

    def _adapter(self, width: int) -> Bottleneck:
        inner = nn.Sequential(nn.ReLU(), nn.Dropout(self.dropout))
        init = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))
        adapter = Bottleneck(width, self.bottleneck, inner, init)
        # A zero up-projection: the first outputs are those of the backbone.
        nn.init.zeros_(adapter.up.weight)
        return adapter


class ParallelModule(InsertedModule):
    """A module that reads the input of one part and adds to the output of another.

    Args:
        source: its input is read.
        target: runs after ``source`` in each pass; its output is added to.
        module: the new module; it becomes the target's submodule ``adapter``.
        scale: factor on the module's output.
    """

    def __init__(self, source: Handle, target: Handle, module: nn.Module, scale: float) -> None:
        super().__init__(target, module, self._add)
        self._scale = scale
        # Of the current pass, from the first hook to the second.
        self._inputs: list[Tensor] = []
        self._reading = source.module.register_forward_pre_hook(self._read)

    def _read(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Assigned, not appended: a failed pass may have left a tensor.
        self._inputs[:] = inputs

    def _add(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + self._scale * self.module(self._inputs.pop())

    def form(self) -> InsertedAdapter | None:
        """Return the adapter with its scale."""
        projections = self.module.projections() if isinstance(self.module, Adapter) else None
        return (
            InsertedAdapter(self.handle.path, "parallel", projections, self._scale) if projections else None
        )

    def detach(self) -> None:
        """Remove the module and both hooks."""
        super().detach()
        self._reading.remove()
