"""Where SPT spends its budget: on single entries where few are sensitive, on structure where many are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.methods.sparse_masks import lowest


@dataclass(frozen=True)
class Structure:
    """What takes the place of a tensor's single entries.

    Args:
        entries: with so many sensitive entries, or more, the tensor gets the structure.
        cost: values that the structure trains.
    """

    entries: int
    cost: int


def allocate(
    scores: Mapping[str, Tensor], structures: Mapping[str, Structure], budget: int
) -> dict[str, Tensor]:
    """Return the allocation whose number of trained values is closest to a budget.

    For each tau, the tau most sensitive entries over all tensors are marked. A tensor with enough
    marks costs its structure, any other as many values as it has marks. As in the authors' code
    (ziplab/SPT, ``get_sensitivity``), of two taus that are equally close the larger is taken. Theirs
    tries taus in steps of 0.02 M; here all are tried, at the price of one: behind the entry that brings
    a tensor its structure, no other entry of that tensor changes anything.

    Equal scores are marked in the order of the mapping, then of the flattened tensor. Tensors on the
    meta device have equal scores.

    Args:
        scores: by name; only their order matters.
        structures: by the same names.
        budget: values to train.

    Returns:
        By name, for tensors with marks: the positions of the entries to train in the flattened tensor,
        (k,) int64, ascending; or none, (0,), where the structure is trained.

    Raises:
        InputError: if no tau costs so much.
    """
    ranked = {name: _most_sensitive(score, structures[name].entries) for name, score in scores.items()}
    costs = np.concatenate([_costs(len(values), structures[n]) for n, (values, _) in ranked.items()])
    order = np.argsort(-np.concatenate([values for values, _ in ranked.values()]), kind="stable")
    totals = costs[order].cumsum()
    if budget > totals.max():
        raise InputError(
            f"method.density asks for {budget:,} trained values, but with structure at every tensor this "
            f"method trains no more than {totals.max():,}. Lower method.density, or raise method.rank."
        )
    distances = np.abs(totals - budget)
    taken = np.flatnonzero(distances == distances.min())[-1] + 1
    owners = np.repeat(np.arange(len(ranked)), [len(values) for values, _ in ranked.values()])
    marks = np.bincount(owners[order[:taken]], minlength=len(ranked)).tolist()
    return {
        name: positions[: 0 if count == structures[name].entries else count].sort().values
        for (name, (_, positions)), count in zip(ranked.items(), marks, strict=True)
        if count
    }


def _most_sensitive(score: Tensor, count: int) -> tuple[np.ndarray, Tensor]:
    """The highest scores of a tensor and their positions, descending; not more than it has."""
    (positions,) = lowest({"": -score}, min(count, score.numel())).values()
    if score.is_meta:
        return np.zeros(len(positions)), positions
    values = score.reshape(-1)[positions].float()
    values, order = values.sort(descending=True, stable=True)
    return values.cpu().numpy(), positions[order]


def _costs(length: int, structure: Structure) -> np.ndarray:
    """What each further entry of a tensor adds to the number of trained values."""
    costs = np.ones(length, dtype=np.int64)
    if length == structure.entries:
        costs[-1] = structure.cost - (length - 1)
    return costs
