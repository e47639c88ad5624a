"""SPT (He et al., ICCV 2023, arXiv 2303.08566): sensitivity-aware allocation of trained values.

The method was made for vision transformers; no GLUE numbers of its authors are available. Criterion,
thresholds, modules and their dropout follow the authors' code (ziplab/SPT). Differences are listed in `Spt`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
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
from gluelamp.methods.sparse_masks import Dense, Sparse, checked_positions, sparse_changes
from gluelamp.methods.spt_allocation import Structure, allocate


class Spt(Sparse):
    """Train single entries of some tensors and a module at others, selected by the task's gradients.

    An entry's sensitivity is its squared gradient, of the mean loss over a batch, summed over batches.
    The most sensitive entries of all weights and vectors are marked. A weight with P / ``alpha`` marks
    gets a module of P values. A vector with a fraction of 1 / ``beta`` of its entries marked is trained in
    full. Elsewhere the marked entries are trained. The number of marks is the one whose number of trained
    values is closest to the budget; see `gluelamp.methods.spt_allocation.allocate`.

    - ``lora`` adds ``B A x`` to the output of a linear layer for x: P = r (in + out). All of it merges.
    - ``adapter`` adds ``up(GELU(down(o)))`` to its output o: P = 2 out r + r + out. Does not merge.
      At the attention's output projection the authors' code feeds it the input of that layer instead.

    A task stores the positions of single entries, and none for a tensor that is trained by structure.
    Differences from the authors' code: gradients are computed without dropout. Marked entries of LayerNorms
    are trained; there they are counted but stay frozen. Every module has dropout on its input, with its own
    mask; there a module on ``attention_output`` has none, and those of ``lora`` on query, key and value share
    a mask. An adapter's down bias is zero at the start; there it has torch's default initialisation.

    An untrained selection allocates by the pre-trained values or, on the meta device, as if all entries were
    equally sensitive. Its count is as close to the budget as that of a trained one, within half a module,
    but the number of stored positions differs.

    Args:
        density: the budget, as a fraction of the encoder. The authors' 0.2 M to 1.0 M on ViT-B (85.8 M)
            are 0.0023 to 0.0117.
        exclude: regular expression; see `Sparse`. The authors exclude patch and position embeddings, so the
            default excludes all embeddings.
        structure: the module.
        targets: the linear layers whose weights are candidates, in addition to all vectors of the encoder.
        rank: r.
        alpha: the larger, the sooner a weight gets a module.
        beta: the larger, the sooner a vector is trained in full; below 1 none is.
        dropout: on the module's input.
        drop_path: probability with which a module's update of an example is dropped in training.
        examples: training examples whose gradients are taken.
        batch_size: examples whose mean loss gives one gradient.
        head_warmup_epochs: passes over the training data with the head alone before that. With 0, as in
            the authors' code, the gradients pass through a head of random weights.
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
        """Train the head if ``head_warmup_epochs`` is not 0, then score all entries."""
        head = TrainingPhase(HeadOnly(), "head_only", self.head_warmup_epochs)
        dense = Dense(exclude=self.exclude, pooler=False)
        scoring = ScoringPhase(dense, "sensitivity", self.examples, self.batch_size)
        # Scoring comes last: `selection_from_phases` reads the result of the last phase.
        return (head, scoring) if self.head_warmup_epochs else (scoring,)

    def candidates(self, model: PreTrainedModel, parts: Anatomy) -> dict[str, Tensor]:
        """Return the targets' weights and all vectors, by full name."""
        # Single entries of other matrices, such as embeddings, are never trained.
        weights = {f"{place.path}.weight" for place in linears(parts, self.targets)}
        candidates = super().candidates(model, parts)
        return {name: value for name, value in candidates.items() if value.dim() == 1 or name in weights}

    def structure_of(self, shape: torch.Size) -> Structure:
        """Return the structure that a vector, or a weight (out, in), can get, and when."""
        if len(shape) == 1:
            return Structure(math.ceil(shape[0] / self.beta), shape[0])
        outputs, inputs = shape
        # Trained values of the module at this weight.
        sizes = {
            "lora": self.rank * (inputs + outputs),
            "adapter": 2 * outputs * self.rank + self.rank + outputs,
        }
        size = sizes[self.structure]
        return Structure(math.ceil(size / self.alpha), size)

    def selection_from_phases(
        self, model: PreTrainedModel, parts: Anatomy, results: Sequence[Mapping[str, Tensor]]
    ) -> Selection:
        """Allocate the budget by the scores of the last phase."""
        # Only LoRA's product has a rank to compare with the weight's.
        if self.structure == "lora":
            check_rank(self.rank, linears(parts, self.targets))
        candidates = self.candidates(model, parts)
        scores = {name: results[-1][f"{name}.values"].to(value.device) for name, value in candidates.items()}
        structures = {name: self.structure_of(value.shape) for name, value in candidates.items()}
        chosen = allocate(scores, structures, self.budget(model, parts))
        return Selection({f"{name}.positions": indices.to(torch.int32) for name, indices in chosen.items()})

    def selected_changes(
        self, model: PreTrainedModel, parts: Anatomy, selected: Mapping[str, Tensor]
    ) -> list[Change]:
        """Put modules, trained vectors and deltas at the selected positions.

        Raises:
            InputError: if the positions are those of another backbone.
        """
        positions = checked_positions(selected, self.candidates(model, parts))
        # A tensor without positions in the selection gets its structure; see `allocate`.
        structured = [name for name, indices in positions.items() if len(indices) == 0]
        places = [place for place in linears(parts, self.targets) if f"{place.path}.weight" in structured]
        vectors = [name for name in structured if model.get_parameter(name).dim() == 1]
        return [
            # first: if a module refuses to merge, nothing has been merged yet
            *(self._module_at(place) for place in places),
            *replace_tensors(model, vectors),
            *sparse_changes(model, positions, shares_positions=False),
        ]

    def _module_at(self, place: Handle) -> Change:
        shape = place.module.get_parameter("weight").shape
        if self.structure == "adapter":
            adapter = DroppedAdapter(shape[0], self)
            return InsertedModule(place, adapter, residual(adapter))
        branch = LowRankBranch(shape, self)
        return ModuleOnLinear(place, branch, branch.add)


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
        # nn.Dropout on one value per example also scales the others by 1 / (1 - probability)
        return update * self.dropout(update.new_ones(len(update), *[1] * (update.dim() - 1)))


class LowRankBranch(Mergeable):
    """``B A x`` parallel to a linear layer. A has torch's default initialisation, B is zero at the start.

    Args:
        shape: of the layer's weight (out, in).
        method: the hyper-parameters.
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

    def add(self, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Return the layer's output with the update: a forward hook of the layer."""
        return output + self(inputs[0])

    def merged(self, weight: Tensor) -> Tensor:
        """Return the weight with the branch added."""
        return weight + self.up.weight @ self.down.weight

    def low_rank(self) -> tuple[Tensor, Tensor]:
        """Return both matrices."""
        return self.down.weight, self.up.weight


class DroppedAdapter(Bottleneck):
    """``up(GELU(down(o)))`` with dropout and drop path; up and all biases are zero at the start.

    Args:
        width: size of o.
        method: the hyper-parameters.
    """

    def __init__(self, width: int, method: Spt) -> None:
        super().__init__(width, method.rank, nn.GELU(), partial(nn.init.kaiming_uniform_, a=math.sqrt(5)))
        nn.init.zeros_(self.up.weight)
        self.dropout = nn.Dropout(method.dropout)
        self.drop_path = DropPath(method.drop_path)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the update of hidden states (..., width)."""
        return self.drop_path(super().forward(self.dropout(hidden)))
