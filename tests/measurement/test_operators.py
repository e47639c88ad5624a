"""A merged model runs what the bare backbone runs; the trace would show it if not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from gluelamp.experiments.measure import MeasureConfig
from gluelamp.measurement.operators import same_operators, trace_operators
from gluelamp.measurement.states import build_states
from methods.rows import ROWS, Row
from tiny_models import backbone, batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROW_OF_LEAF = {row.leaf: row for row in reversed(ROWS) if "bert" in row.on}  # a leaf's first row
leaves = pytest.mark.parametrize("row", ROW_OF_LEAF.values(), ids=str)

Measuring = Callable[..., MeasureConfig]
States = Callable[..., "dict[str, PreTrainedModel]"]


@pytest.fixture
def states(measuring: Measuring) -> States:
    """Return the states of a method on a tiny BERT, in evaluation mode."""

    def build(method: str, *overrides: str) -> dict[str, PreTrainedModel]:
        fields = (f"method.{override}" for override in overrides)
        models = build_states(backbone("bert"), measuring(f"method={method}", *fields).method)
        return {state: model.eval() for state, model in models.items()}

    return build


def module_types(model: nn.Module) -> dict[str, type]:
    return {name: type(module) for name, module in model.named_modules()}


def parameter_layouts(model: nn.Module) -> dict[str, tuple]:
    return {name: (p.shape, p.stride(), p.dtype) for name, p in model.named_parameters()}


@leaves
def test_only_what_merges_has_the_modules_and_the_operators_of_the_backbone(states: States, row: Row) -> None:
    models = states(row.leaf, *row.overrides)
    assert ("merged" in models) == row.merges
    if not row.merges:
        assert not same_operators(models["base"], models["unmerged"], batch())
        return
    assert module_types(models["merged"]) == module_types(models["base"])
    assert parameter_layouts(models["merged"]) == parameter_layouts(models["base"])
    assert same_operators(models["base"], models["merged"], batch())


@pytest.mark.parametrize("method", ["pafi", "hiwi", "hiwi_weight", "lora"])
def test_an_unmerged_change_of_weights_shows_in_the_trace(states: States, method: str) -> None:
    models = states(method)
    assert not same_operators(models["base"], models["unmerged"], batch())


@pytest.mark.parametrize("method", ["pafi", "hiwi"])
def test_on_roberta_large_a_merged_model_runs_the_operators_of_the_backbone(
    measuring: Measuring, method: str
) -> None:
    config = measuring("backbone=roberta_large", f"method={method}")
    with torch.device("meta"):
        models = build_states(config.backbone, config.method)
        inputs = {"input_ids": torch.ones(2, 8, dtype=torch.long)}
    base = trace_operators(models["base"].eval(), inputs)
    # a block has six projections, the head two
    assert sum(operator.name == "aten.addmm.default" for operator in base) == 24 * 6 + 2
    assert trace_operators(models["merged"].eval(), inputs) == base


def transposed(linear: nn.Linear) -> nn.Linear:
    linear.weight.data = linear.weight.data.t().contiguous().t()
    return linear


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.ReLU(), nn.GELU()),
        (nn.Linear(4, 4), nn.Linear(4, 5)),
        (nn.Linear(4, 4), nn.Linear(4, 4).double()),
        (nn.Linear(4, 4), transposed(nn.Linear(4, 4))),
        (nn.Linear(4, 4), nn.Linear(4, 4, bias=False)),
    ],
    ids=["operator", "shape", "type", "layout", "missing input"],
)
def test_the_trace_tells_models_apart_by(one: nn.Module, other: nn.Module) -> None:
    def inputs(model: nn.Module) -> dict[str, torch.Tensor]:
        dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
        return {"input": torch.zeros(2, 4, dtype=dtype)}

    assert trace_operators(one, inputs(one)) != trace_operators(other, inputs(other))
    assert same_operators(one, one, inputs(one))
