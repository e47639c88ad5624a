"""SPT (He et al., ICCV 2023, arXiv 2303.08566): sensitivity-aware allocation of trained values.

The method was made for vision transformers; no GLUE number of its authors is known to us. Criterion,
thresholds, modules and their dropout follow the authors' code (ziplab/SPT). What is different is said
where it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor, nn
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy, Handle
from gluelamp.methods.base import Selection
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.inserted import Bottleneck, InsertedModule, residual
from gluelamp.methods.changes.linears import Mergeable, ModuleOnLinear, Target, check_rank, linears
from gluelamp.methods.changes.tensors import replace_tensors
from gluelamp.methods.head_only import HeadOnly
from gluelamp.methods.phases import Phase, ScoringPhase, TrainingPhase
from gluelamp.methods.sparse_masks import Dense, Sparse, check_positions, sparse_changes
from gluelamp.methods.spt_allocation import Structure, allocate


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Spt(Sparse):
    """Train single entries of some tensors and a module at others, as the task's gradients say.

    An entry's sensitivity is its squared gradient, of the mean loss over a batch, summed over batches.
    The most sensitive entries of all weights and vectors are marked. A weight with P / ``alpha`` marks
    gets a module of P values, a vector with a share of 1 / ``beta`` of its entries marked is trained
    whole, and elsewhere the marked entries are trained. As many are marked as bring the number of
    trained values closest to the budget; see `gluelamp.methods.spt_allocation.allocate`.

    - ``lora`` adds ``B A x`` to what a linear layer makes of x: P = r (in + out). All of it merges.
    - ``adapter`` adds ``up(GELU(down(o)))`` to its output o: P = 2 out r + r + out. Does not merge.
      At the attention's output projection the authors' code feeds it the input of that layer instead.

    A task stores the positions of single entries, and none for a tensor that is trained by structure.
    Unlike in the authors' code, gradients are taken without dropout, and marked entries of LayerNorms
    are trained; there they are counted but stay frozen. There a module on ``attention_output`` has no
    dropout on its input, and those of ``lora`` on query, key and value share one mask; here each draws
    its own. There an adapter's down bias starts as torch draws it; here it starts at zero.

    Without a task the allocation is made from the pre-trained values or, on the meta device, as if all
    entries were equally sensitive: its count is then as close to the budget as that of a real one,
    within half a module, but it has more or fewer positions to store.

    Args:
        density: the budget, as a share of the encoder. The authors' 0.2 M to 1.0 M on ViT-B (85.8 M)
            are 0.0023 to 0.0117.
        exclude: regular expression; tensors whose full name it finds take no part. The authors leave
            out patch and position embeddings; so the default leaves out all embeddings.
        structure: the module.
        targets: the linear layers whose weights take part, with all vectors of the encoder.
        rank: r.
        alpha: the larger, the sooner a weight gets a module.
        beta: the larger, the sooner a vector is trained whole; below 1 none is.
        dropout: on the module's input.
        drop_path: probability with which a module's update of an example is dropped in training.
        examples: training examples whose gradients are taken.
        batch_size: examples whose mean loss gives one gradient.
        head_warmup_epochs: passes over the training data with the head alone before that; with 0, as
            in the authors' code, the gradients come through a head of random weights.
    """

    family: ClassVar[str] = "reparametrization"
    reference: ClassVar[str] = "He et al., ICCV 2023, arXiv 2303.08566"
    checked_against: ClassVar[str] = (
        "The authors' search over thresholds, written out (tests/methods/test_spt_allocation.py), and "
        "dense weights (tests/methods/test_spt.py)."
    )
    open_questions: ClassVar[str] = (
        "The method was made for images: learning rates and budget for text are our choice."
    )

    exclude: str | None = "embeddings"
    structure: Literal["lora", "adapter"] = "lora"
    targets: tuple[Target, ...] = Field(
        default=("query", "key", "value", "attention_output", "up", "down"), min_length=1
    )
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=10.0, gt=0)
    beta: float = Field(default=5.0, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    examples: int = Field(default=512, ge=1)
    batch_size: int = Field(default=32, ge=1)
    head_warmup_epochs: int = Field(default=0, ge=0)

    @property
    def merges(self) -> bool:  # type: ignore[override]
        """Whether the modules are linear: those of ``lora`` are, adapters are not."""
        return self.structure == "lora"

    def phases(self) -> tuple[Phase, ...]:
        """Warm the head up, if asked for, and score."""
        head = TrainingPhase(HeadOnly(), "head_only", self.head_warmup_epochs)
        dense = Dense(exclude=self.exclude)
        scoring = ScoringPhase(dense, "sensitivity", self.examples, self.batch_size)
        return (head, scoring) if self.head_warmup_epochs else (scoring,)

    def candidates(self, model: PreTrainedModel, parts: Anatomy) -> dict[str, Tensor]:
        """Return the targets' weights and all vectors, by full name."""
        weights = {f"{place.path}.weight" for place in linears(parts, self.targets)}
        taking_part = super().candidates(model, parts)
        return {name: value for name, value in taking_part.items() if value.dim() == 1 or name in weights}

    def structure_of(self, shape: torch.Size) -> Structure:
        """Return the structure that a vector, or a weight (out, in), can get, and when."""
        if len(shape) == 1:
            return Structure(math.ceil(shape[0] / self.beta), shape[0])
        outputs, inputs = shape
        sizes = {
            "lora": self.rank * (inputs + outputs),
            "adapter": 2 * outputs * self.rank + self.rank + outputs,
        }
        size = sizes[self.structure]
        return Structure(math.ceil(size / self.alpha), size)

    def select(
        self, model: PreTrainedModel, parts: Anatomy, results: Sequence[Mapping[str, Tensor]]
    ) -> Selection:
        """Allocate the budget by the scores of the last phase."""
        if self.structure == "lora":
            check_rank(self.rank, linears(parts, self.targets))
        candidates = self.candidates(model, parts)
        scores = {name: results[-1][f"{name}.values"].to(value.device) for name, value in candidates.items()}
        structures = {name: self.structure_of(value.shape) for name, value in candidates.items()}
        chosen = allocate(scores, structures, self.budget(model, parts))
        return Selection({f"{name}.positions": where.to(torch.int32) for name, where in chosen.items()})

    def selected_changes(
        self, model: PreTrainedModel, parts: Anatomy, selected: Mapping[str, Tensor]
    ) -> list[Change]:
        """Put modules, whole vectors and deltas where the positions say.

        Raises:
            InputError: if the positions are those of another backbone.
        """
        positions = {name.removesuffix(".positions"): where.long() for name, where in selected.items()}
        check_positions(positions, self.candidates(model, parts))
        structured = [name for name, where in positions.items() if len(where) == 0]
        places = [place for place in linears(parts, self.targets) if f"{place.path}.weight" in structured]
        vectors = [name for name in structured if model.get_parameter(name).dim() == 1]
        return [
            *(self._module_at(place) for place in places),  # first: they may refuse to merge
            *replace_tensors(model, vectors),
            *sparse_changes(model, positions, shares_positions=False),
        ]

    def _module_at(self, place: Handle) -> Change:
        shape = place.module.get_parameter("weight").shape
        if self.structure == "adapter":
            adapter = DroppedAdapter(shape[0], self)
            return InsertedModule(place, adapter, residual(adapter))
        branch = LowRankBranch(shape, self)
        return ModuleOnLinear(place, branch, branch.beside)


class DropPath(nn.Module):
    """Drop an example's whole update in training, and scale the others up.

    Args:
        probability: of dropping.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(probability)

    def forward(self, update: Tensor) -> Tensor:
        """Return the update (batch, ...), with zeros for dropped examples."""
        if not self.training:
            return update
        return update * self.dropout(update.new_ones(len(update), *[1] * (update.dim() - 1)))


class LowRankBranch(Mergeable):
    """``B A x`` beside a linear layer: A is drawn as torch draws a linear layer, B starts at zero.

    Args:
        shape: of the layer's weight (out, in).
        method: the recipe.
    """

    def __init__(self, shape: torch.Size, method: Spt) -> None:
        super().__init__()
        self.dropout = nn.Dropout(method.dropout)
        self.down = nn.Linear(shape[1], method.rank, bias=False)
        self.up = nn.Linear(method.rank, shape[0], bias=False)
        nn.init.zeros_(self.up.weight)
        self.drop_path = DropPath(method.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return the update of the layer's output (..., out) from its input (..., in)."""
        return self.drop_path(self.up(self.down(self.dropout(x))))

    def beside(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return the layer's output with the update: a forward hook of the layer."""
        return output + self(inputs[0])

    def merged(self, weight: Tensor) -> Tensor:
        """Return the weight with the branch added."""
        return weight + self.up.weight @ self.down.weight


class DroppedAdapter(Bottleneck):
    """``up(GELU(down(o)))`` with dropout and drop path; up and all biases start at zero.

    Args:
        width: size of o.
        method: the recipe.
    """

    def __init__(self, width: int, method: Spt) -> None:
        super().__init__(width, method.rank, nn.GELU(), partial(nn.init.kaiming_uniform_, a=math.sqrt(5)))
        nn.init.zeros_(self.up.weight)
        self.dropout = nn.Dropout(method.dropout)
        self.drop_path = DropPath(method.drop_path)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., width)."""
        return self.drop_path(super().forward(self.dropout(hidden)))
