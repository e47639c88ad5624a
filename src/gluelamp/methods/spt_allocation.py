"""SPT's budget allocation: single entries of a tensor if few are sensitive, a structure if many are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.methods.sparse_masks import lowest


@dataclass(frozen=True)
class Structure:
    """What is trained instead of a tensor's single entries.

    Args:
        entries: with that many sensitive entries, or more, the tensor gets the structure.
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
    (ziplab/SPT, ``get_sensitivity``), the larger of two equally close taus is taken. The authors try
    taus in steps of 0.02 M; here all are tried.

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
        InputError: if no tau costs that much.
    """
    # Once a tensor has enough marks for its structure, further marks in it cost nothing. Only its first
    # `entries` scores are therefore needed.
    ranked = {name: _most_sensitive(score, structures[name].entries) for name, score in scores.items()}
    # One pass tries every tau: sort all these entries by score, and sum what each of them adds to the cost.
    costs = np.concatenate([_costs(len(values), structures[n]) for n, (values, _) in ranked.items()])
    order = np.argsort(-np.concatenate([values for values, _ in ranked.values()]), kind="stable")
    totals = costs[order].cumsum()
    if budget > totals.max():
        raise InputError(
            f"method.density asks for {budget:,} trained values, but with structure at every tensor this "
            f"method trains no more than {totals.max():,}. Lower method.density, or raise method.rank."
        )
    # A structure may cost less than the entries that it replaces, so totals can fall: compare all minima.
    distances = np.abs(totals - budget)
    tau = np.flatnonzero(distances == distances.min())[-1] + 1
    owners = np.repeat(np.arange(len(ranked)), [len(values) for values, _ in ranked.values()])
    marks = np.bincount(owners[order[:tau]], minlength=len(ranked)).tolist()
    return {
        name: positions[: 0 if count == structures[name].entries else count].sort().values
        for (name, (_, positions)), count in zip(ranked.items(), marks, strict=True)
        if count
    }


def _most_sensitive(score: Tensor, count: int) -> tuple[np.ndarray, Tensor]:
    """Return the highest scores of a tensor and their positions, descending; at most as many as it has."""
    (positions,) = lowest({"": -score}, min(count, score.numel())).values()
    if score.is_meta:
        return np.zeros(len(positions)), positions
    values = score.reshape(-1)[positions].float()
    values, order = values.sort(descending=True, stable=True)
    return values.cpu().numpy(), positions[order]


def _costs(length: int, structure: Structure) -> np.ndarray:
    """Return what each further entry of a tensor adds to the number of trained values."""
    costs = np.ones(length, dtype=np.int64)
    if length == structure.entries:
        # the last entry replaces the single entries before it by the structure
        costs[-1] = structure.cost - (length - 1)
    return costs
