"""A structure that differs in one thing is found to, and said so."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from gluelamp.measurement.structure import compare_structure, structure_reasons

INPUTS = {"x": torch.zeros(2, 4)}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def reasons(change: Callable[[nn.Sequential], object]) -> list[str]:
    base, other = Model(), Model()
    change(other.inner)
    return structure_reasons(compare_structure(base, other, INPUTS))


def test_copies_do_not_differ() -> None:
    model = Model()
    found = compare_structure(model, deepcopy(model), INPUTS)
    assert structure_reasons(found) == []
    assert found["flops"] == {"base": 64, "candidate": 64}
    assert found["operators"]["base"] == found["operators"]["candidate"] > 0
    assert found["operators"]["surplus"] == found["operators"]["missing"] == {}
    for part in ("modules", "tensors", "operators"):
        assert found[part]["sha256"]["base"] == found[part]["sha256"]["candidate"]
        assert found[part]["first_difference"] is None


def test_a_parameter_that_was_written_anew_is_in_its_old_place() -> None:
    def write_again(inner: nn.Sequential) -> None:
        weight = inner[0].weight
        del inner[0].weight
        inner[0].weight = weight  # now behind the bias

    assert reasons(write_again) == []


def test_an_extra_module_is_named_with_all_that_follows_from_it() -> None:
    modules, tensors, operators, flops = reasons(lambda inner: inner.append(nn.Linear(4, 4)))
    assert "(5 here, 4 in the bare backbone): inner.2 is a Linear, where" in modules
    assert "inner.2.bias is torch.float32 of shape (4,)" in tensors
    assert "aten" in operators
    assert flops == "A pass takes 128 FLOPs, and one of the bare backbone 64."


def test_a_hook_is_seen_in_the_operators_alone() -> None:
    (operators,) = reasons(lambda inner: inner.register_forward_hook(lambda _, __, output: output * 1))
    assert "aten.mul.Tensor" in operators


def transpose_in_memory(inner: nn.Sequential) -> None:
    inner[0].weight.data = inner[0].weight.data.t().contiguous().t()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda inner: inner.__setitem__(1, nn.GELU()), "modules"),
        (lambda inner: inner[0].register_buffer("mask", torch.zeros(1)), "tensors"),
        (transpose_in_memory, "tensors"),
    ],
    ids=["type", "buffer", "stride"],
)
def test_the_part_that_differs_is_named(change: Callable[[nn.Sequential], object], part: str) -> None:
    assert reasons(change)[0].startswith(f"The {part} differ")
