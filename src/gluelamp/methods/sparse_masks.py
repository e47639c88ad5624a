"""Base classes of sparse methods: candidate tensors, budget, and the selection of positions by a score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.base import Method, Selection
from gluelamp.methods.changes.change import Change
from gluelamp.methods.changes.sparse import SparseDelta
from gluelamp.methods.changes.tensors import TensorChange, replace_tensors

Scope = Literal["global", "per_layer", "per_tensor"]


class Sparse(Method):
    """A method that trains a fraction of the encoder's single values.

    Args:
        density: fraction of the encoder's parameters (without pooler and head) to train.
        exclude: regular expression. A tensor in whose full name it matches is not a candidate. By default
            all tensors of the encoder are: weights, biases, LayerNorms and embeddings.
    """

    density: float = Field(default=0.005, gt=0, le=1)
    exclude: str | None = None

    @model_validator(mode="after")
    def _exclude_is_an_expression(self) -> Sparse:
        try:
            re.compile(self.exclude or "")
        except re.error as error:
            raise ValueError(
                f"method.exclude={self.exclude!r} is not a regular expression: {error}. Allowed: null, or "
                "an expression such as 'embeddings' that matches in the names of tensors"
            ) from error
        return self

    def candidates(self, model: PreTrainedModel, parts: Anatomy) -> dict[str, Tensor]:
        """Return the tensors whose values may be trained, by full name."""
        return {
            name: model.get_parameter(name).detach()
            for name in self.candidate_names(parts)
            if not (self.exclude and re.search(self.exclude, name))
        }

    def candidate_names(self, parts: Anatomy) -> tuple[str, ...]:
        """Return the full names of the candidates, before any exclusion: the encoder's parameters."""
        return parts.encoder_parameters

    def budget(self, model: PreTrainedModel, parts: Anatomy, *, spent: int = 0) -> int:
        """Return how many values to train.

        Args:
            model: the sequence classifier.
            parts: its anatomy.
            spent: values of the budget that are used elsewhere.

        Raises:
            InputError: if the budget is zero, or larger than the candidates.
        """
        size = sum(model.get_parameter(name).numel() for name in parts.encoder_parameters)
        available = sum(value.numel() for value in self.candidates(model, parts).values())
        budget = round(self.density * size) - spent
        if not 0 < budget <= available:
            difference = f", minus {spent:,} for the head" if spent else ""
            raise InputError(
                f"method.density={self.density} asks for {budget:,} of the encoder's {size:,} "
                f"parameters{difference}; the candidates have {available:,}. Allowed: 1 to that many. Change "
                "method.density or method.exclude."
            )
        return budget


class SparseWithPooler(Sparse):
    """A sparse method whose candidates may include a frozen pre-trained pooler.

    Args:
        pooler: whether the parameters of a pooler that the head does not train (``head=linear`` on BERT)
            are candidates. It has no effect with ``head=two_layer``: the pooler is then trained in full with
            the head. The base of the budget is the encoder without the pooler in any case.
    """

    pooler: bool = True

    def candidate_names(self, parts: Anatomy) -> tuple[str, ...]:
        """Return the full names of the encoder's parameters and, if it is a candidate, of the pooler's."""
        pooler = parts.pooler if self.pooler else None
        return (*parts.encoder_parameters, *(pooler.parameter_names() if pooler else ()))


class TaskSparse(SparseWithPooler):
    """A sparse method whose mask depends on the task's data, through phases.

    A subclass defines `phases`, and `scores` from their results. A task stores the mask's positions (4
    bytes each) and their values.
    """

    def scores(self, candidates: Mapping[str, Tensor], result: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a score for each entry of each candidate; the highest are trained.

        Args:
            candidates: the pre-trained tensors.
            result: by the same names, the result of the last phase.
        """
        raise NotImplementedError

    def spent(self, parts: Anatomy) -> int:
        """Return values of the budget that are not part of the mask; none by default."""
        return 0

    def selection_from_phases(
        self, model: PreTrainedModel, parts: Anatomy, results: Sequence[Mapping[str, Tensor]]
    ) -> Selection:
        """Select the positions of the highest scores over all candidates together."""
        candidates = self.candidates(model, parts)
        last = {name: results[-1][f"{name}.values"].to(value.device) for name, value in candidates.items()}
        scores = self.scores(candidates, last)
        if not any(score.is_meta or score.any() for score in scores.values()):
            # An untrained selection: nothing moved, so all scores are equal, and a mask in order would lie in
            # the embeddings alone. Magnitudes spread it over the encoder, so that timings are realistic.
            scores = {name: value.abs() for name, value in candidates.items()}
        negative = {name: -score for name, score in scores.items()}
        selected = lowest(negative, self.budget(model, parts, spent=self.spent(parts)))
        positions = {name: indices.to(torch.int32) for name, indices in selected.items() if len(indices)}
        return Selection({f"{name}.positions": indices for name, indices in positions.items()})

    def selected_changes(
        self, model: PreTrainedModel, parts: Anatomy, selected: Mapping[str, Tensor]
    ) -> list[Change]:
        """Put a trained delta at each selected position.

        Raises:
            InputError: if the positions are those of another backbone.
        """
        positions = checked_positions(selected, self.candidates(model, parts))
        return [*sparse_changes(model, positions, shares_positions=False)]


class Dense(SparseWithPooler):
    """All candidates of a sparse method, trained in full: used in its phases."""

    density: float = 1.0

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Replace each candidate by a trained tensor."""
        return [*replace_tensors(model, list(self.candidates(model, parts)))]


def checked_positions(selected: Mapping[str, Tensor], candidates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the positions of a selection by name of the tensor, (k,) int64; refuse those of other tensors.

    Args:
        selected: `Selection.tensors`: by name with the suffix ``.positions``, (k,), ascending; k may be 0.
        candidates: the tensors whose values may be trained.

    Raises:
        InputError: if a tensor is missing or too small.
    """
    positions = {name.removesuffix(".positions"): indices.long() for name, indices in selected.items()}
    for name, indices in positions.items():
        unbounded = indices.is_meta or len(indices) == 0
        if name not in candidates or not (unbounded or indices[-1] < candidates[name].numel()):
            raise InputError(
                f"The mask has positions in {name!r} that are not candidates of this backbone, or that "
                "method.exclude excludes: it was trained on another backbone or with another "
                "configuration. Load it with the configuration of its run."
            )
    return positions


def sparse_changes(
    model: PreTrainedModel, positions: Mapping[str, Tensor], *, shares_positions: bool
) -> list[TensorChange]:
    """Put a trained delta at given positions of parameters.

    Args:
        model: changed in place.
        positions: by full name of a parameter, (k,) int64.
        shares_positions: whether all tasks have the same positions.
    """
    return [
        TensorChange(
            model,
            name,
            SparseDelta(model.get_parameter(name), indices, shares_positions=shares_positions),
        )
        for name, indices in positions.items()
        if len(indices)
    ]


def grouped(names: Sequence[str], scope: Scope) -> list[list[str]]:
    """Return the names that are ranked together, in order: all, those of a block, or each alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        block = re.search(r"\.(\d+)\.", name)
        layer = block.group(1) if block else ""
        key = {"global": "", "per_layer": layer, "per_tensor": name}[scope]
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def lowest(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the positions of the ``count`` lowest scores over several tensors together.

    Equal scores are taken in the order of the mapping, then of the flattened tensor, so that the
    result is unique. On the meta device, where there are no values, the first ``count`` positions
    are returned: enough to count with.

    Args:
        scores: by name; compared in fp32.
        count: how many positions in total.

    Returns:
        By name, (k,) int64 positions in the flattened tensor, ascending.
    """
    sizes = [value.numel() for value in scores.values()]
    flat = torch.cat([value.reshape(-1).float() for value in scores.values()])
    if count == 0 or flat.is_meta:
        chosen = torch.arange(count, device="cpu")
    else:
        # torch.kthvalue holds an int64 for each value: seven gigabytes for a large backbone.
        threshold = float(np.partition(flat.cpu().numpy(), count - 1)[count - 1])
        below = torch.nonzero(flat < threshold).view(-1)
        ties = torch.nonzero(flat == threshold).view(-1)
        chosen = torch.cat([below, ties[: count - len(below)]]).sort().values.cpu()
    # Positions in the concatenation become positions in each tensor.
    starts = torch.tensor([0, *sizes], device="cpu").cumsum(0)
    bounds = torch.searchsorted(chosen, starts).tolist()
    return {
        name: (chosen[low:high] - start).to(value.device)
        for (name, value), start, low, high in zip(
            scores.items(), starts.tolist(), bounds[:-1], bounds[1:], strict=False
        )
    }
