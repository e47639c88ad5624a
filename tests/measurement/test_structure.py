"""The comparison of two structures: it finds each difference, and a merged model has none."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.models import build_states
from gluelamp.measurement.structure import compare_structure, structure_reasons, trace_operators
from methods.rows import ROWS, Row
from tiny_models import backbone, batch

# The first row of each config that merges. The test matrix checks that the others refuse to merge.
MERGING = {row.config: row for row in reversed(ROWS) if "bert" in row.on and row.merges}
INPUTS = {"x": torch.zeros(2, 4)}
Models = Callable[..., MeasuredModel]


@pytest.mark.parametrize("row", MERGING.values(), ids=str)
def test_a_method_that_merges_has_the_structure_of_the_backbone(measured_model: Models, row: Row) -> None:
    method = measured_model("tiny", row.config, *row.overrides).method
    states = build_states(backbone("bert"), method)
    assert structure_reasons(compare_structure(states["base"], states["merged"], batch())) == []


def test_on_roberta_large_a_merged_model_runs_the_operators_of_the_backbone(measured_model: Models) -> None:
    model = measured_model("roberta_large", "hiwi")
    with torch.device("meta"):
        states = build_states(model.backbone, model.method)
        inputs = {"input_ids": torch.ones(2, 8, dtype=torch.long)}
    base = trace_operators(states["base"], inputs)
    # a block has six projections, the head two
    assert sum(operator.name == "aten.addmm.default" for operator in base) == 24 * 6 + 2
    assert trace_operators(states["merged"], inputs) == base


def transposed(linear: nn.Linear) -> nn.Linear:
    linear.weight.data = linear.weight.data.t().contiguous().t()
    return linear


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nn.ReLU(), nn.GELU()),
        (nn.Linear(4, 4), nn.Linear(4, 5)),
        (nn.Linear(4, 4), nn.Linear(4, 4).double()),
        (nn.Linear(4, 4), transposed(nn.Linear(4, 4))),
        (nn.Linear(4, 4), nn.Linear(4, 4, bias=False)),
    ],
    ids=["operator", "shape", "type", "layout", "missing input"],
)
def test_traces_of_operators_differ_by(first: nn.Module, second: nn.Module) -> None:
    def trace(model: nn.Module) -> list:
        dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
        return trace_operators(model, {"input": torch.zeros(2, 4, dtype=dtype)})

    assert trace(first) != trace(second)
    assert trace(first) == trace(first)


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
    comparison = compare_structure(model, deepcopy(model), INPUTS)
    assert structure_reasons(comparison) == []
    assert comparison["flops"] == {"base": 64, "candidate": 64}
    assert comparison["operators"]["base"] == comparison["operators"]["candidate"] > 0
    assert comparison["operators"]["surplus"] == comparison["operators"]["missing"] == {}
    for part in ("modules", "tensors", "operators"):
        assert comparison[part]["sha256"]["base"] == comparison[part]["sha256"]["candidate"]
        assert comparison[part]["first_difference"] is None


def test_the_order_of_parameters_does_not_matter() -> None:
    def register_again(inner: nn.Sequential) -> None:
        weight = inner[0].weight
        del inner[0].weight
        inner[0].weight = weight  # now after the bias

    assert reasons(register_again) == []


def test_an_extra_module_is_named_with_all_its_consequences() -> None:
    modules, tensors, operators, flops = reasons(lambda inner: inner.append(nn.Linear(4, 4)))
    assert "(5 here, 4 in the bare backbone): inner.2 is a Linear, where" in modules
    assert "inner.2.bias is torch.float32 of shape (4,)" in tensors
    assert "aten" in operators
    assert flops == "A pass takes 128 FLOPs, and one of the bare backbone 64."


def test_a_hook_is_seen_in_the_operators_alone() -> None:
    (operators,) = reasons(lambda inner: inner.register_forward_hook(lambda _, __, output: output * 1))
    assert "aten.mul.Tensor" in operators


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda inner: inner.__setitem__(1, nn.GELU()), "modules"),
        (lambda inner: inner[0].register_buffer("mask", torch.zeros(1)), "tensors"),
        (lambda inner: transposed(inner[0]), "tensors"),
    ],
    ids=["type", "buffer", "stride"],
)
def test_the_part_that_differs_is_named(change: Callable[[nn.Sequential], object], part: str) -> None:
    assert reasons(change)[0].startswith(f"The {part} differ")
