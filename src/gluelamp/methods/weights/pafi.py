"""PaFi (Liao, Meng, Monz, ACL 2023, arXiv 2305.16742): tune the weights of smallest magnitude.

The mask depends on the pre-trained weights alone, so one mask serves all tasks, and a task stores its
values without their positions. The paper's text that is known to us gives the rule (smallest absolute
values, one common mask); which tensors take part and whether the ranking is global is taken from
second-hand readings, and is a field here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Change
from gluelamp.methods.method import Method
from gluelamp.methods.weights.sparse import SparseDelta
from gluelamp.methods.weights.tensors import TensorChange


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PaFi(Method):
    """Train a delta at the positions of smallest pre-trained magnitude.

    Args:
        density: share of the encoder's parameters (pooler and head not counted) to train.
        scope: rank over all candidate tensors together, or within each of them.
        exclude: regular expression; tensors whose full name it finds take no part. The default takes
            all of the encoder: weights, biases, LayerNorms and embeddings.
    """

    density: float = Field(default=0.005, gt=0, le=1)
    scope: Literal["global", "per_tensor"] = "global"
    exclude: str | None = None

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        """Choose the positions and put a trained delta at each.

        Raises:
            InputError: if the budget is larger than the candidates, or rounds to nothing.
        """
        encoder = {name: model.get_parameter(name) for name in parts.encoder_parameters}
        candidates = {
            name: value.detach()
            for name, value in encoder.items()
            if not (self.exclude and re.search(self.exclude, name))
        }
        budget = round(self.density * sum(value.numel() for value in encoder.values()))
        available = sum(value.numel() for value in candidates.values())
        if not 0 < budget <= available:
            raise InputError(
                f"method.density={self.density} asks for {budget:,} of the encoder's parameters; the "
                f"candidates hold {available:,}. Allowed: 1 to that many. Change method.density or "
                "method.exclude."
            )
        if self.scope == "global":
            positions = smallest(candidates, budget)
        else:
            share = budget / available
            positions = {}
            for name, value in candidates.items():
                positions |= smallest({name: value}, round(share * value.numel()))
        return [
            TensorChange(model, name, SparseDelta(candidates[name], chosen))
            for name, chosen in positions.items()
            if len(chosen)
        ]


def smallest(tensors: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Return the positions of the ``count`` smallest magnitudes over some tensors together.

    Equal magnitudes are taken in the order of the mapping, then of the flattened tensor, so that
    the choice is unique. On the meta device, where there are no magnitudes, the first ``count``
    positions are returned: enough to count with.

    Args:
        tensors: by name; magnitudes are compared in fp32.
        count: how many positions in all.

    Returns:
        By name, (k,) int64 positions in the flattened tensor, ascending.
    """
    sizes = [value.numel() for value in tensors.values()]
    magnitudes = torch.cat([value.reshape(-1).float().abs() for value in tensors.values()])
    if count == 0 or magnitudes.is_meta:
        chosen = torch.arange(count, device="cpu")
    else:
        threshold = torch.kthvalue(magnitudes, count).values
        below = torch.nonzero(magnitudes < threshold).view(-1)
        ties = torch.nonzero(magnitudes == threshold).view(-1)
        chosen = torch.cat([below, ties[: count - len(below)]]).sort().values.cpu()
    starts = torch.tensor([0, *sizes], device="cpu").cumsum(0)
    bounds = torch.searchsorted(chosen, starts).tolist()
    return {
        name: (chosen[low:high] - start).to(value.device)
        for (name, value), start, low, high in zip(
            tensors.items(), starts.tolist(), bounds[:-1], bounds[1:], strict=False
        )
    }
