"""FLOPs, compared with sums derived by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn

from gluelamp.backbones.heads import HeadType
from gluelamp.errors import InputError
from gluelamp.experiments.measure import MeasureConfig
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.flops import count_flops, forward_flops
from gluelamp.methods.head_only import HeadOnly
from tiny_models import backbone

Measuring = Callable[..., MeasureConfig]

D, F, LAYERS = 32, 64, 2  # of the tiny backbone


def by_hand(length: int) -> int:
    """Of a pass: six projections and two products of attention a block; the head reads one token."""
    block = 2 * length * (4 * D * D + 2 * D * F) + 2 * 2 * length * length * D
    return LAYERS * block + 2 * D * D + 2 * D * 2


@pytest.fixture(scope="session")
def count(measured_model: Callable[..., MeasuredModel]) -> Callable[..., dict[str, float]]:
    @cache
    def counted(method: str, batch: int = 1, length: int = 7, head: str = "two_layer") -> dict[str, float]:
        model = measured_model("tiny", method, head=head)
        (rows,) = count_flops(model, [(batch, length)])
        return {row["state"]: row["flops_per_sample"] for row in rows}

    return counted


def test_a_linear_layer_multiplies_and_adds_once_for_each_weight_and_row() -> None:
    assert forward_flops(nn.Linear(5, 3), {"input": torch.zeros(4, 5)}) == 2 * 4 * 5 * 3


@pytest.mark.parametrize("length", [7, 33])
def test_the_base_is_counted_as_by_hand(count: Callable[..., dict[str, float]], length: int) -> None:
    assert count("head_only", length=length)["base"] == by_hand(length)


def test_an_adapter_costs_its_two_projections_and_does_not_merge(
    count: Callable[..., dict[str, float]],
) -> None:
    found = count("pfeiffer")
    assert "merged" not in found
    assert found["unmerged"] - found["base"] == LAYERS * 2 * (2 * 7 * D * (D // 16))


@pytest.mark.parametrize("method", ["lora", "hiwi_weight"])
def test_what_is_merged_costs_what_the_base_costs(
    count: Callable[..., dict[str, float]], method: str
) -> None:
    found = count(method)
    assert found["merged"] == found["base"]


def test_a_training_step_of_everything_costs_three_passes(count: Callable[..., dict[str, float]]) -> None:
    found = count("full")
    assert found["training"] == 3 * found["base"]  # of each product, one forward and two backward


def test_a_training_step_of_the_head_costs_one_pass_and_its_own_gradients(
    count: Callable[..., dict[str, float]],
) -> None:
    found = count("head_only")
    # the gradients of both layers, and that of the input of the second
    assert found["training"] == found["base"] + 2 * D * D + 2 * D * 2 + 2 * D * 2


def test_work_that_is_done_once_per_pass_is_divided_by_the_samples(
    count: Callable[..., dict[str, float]],
) -> None:
    (one, many) = (count("hiwi_weight", batch=batch) for batch in (1, 8))
    assert one["base"] == many["base"]
    assert one["unmerged"] - one["base"] == 8 * (many["unmerged"] - many["base"]) > 0


def test_a_method_whose_work_depends_on_values_is_counted_with_values(measuring: Measuring) -> None:
    config = measuring("backbone=tiny", "backbone.path=null", "method=dyt", "flops.lengths=[6,9]")
    model = MeasuredModel(config.backbone, config.method)
    rows = [row for part in config.flops.measure(model, config.flops.parts([])) for row in part]
    assert [(row["state"], row["length"]) for row in rows] == [
        (state, length) for length in (6, 9) for state in ("base", "unmerged", "training")
    ]


def test_a_length_beyond_the_last_position_is_refused(count: Callable[..., dict[str, float]]) -> None:
    with pytest.raises(InputError, match="length=129 is not allowed: the backbone reads at most 128 tokens"):
        count("lora", length=129)


def test_a_pass_with_a_linear_head_has_no_dense_layer() -> None:
    # RoBERTa's dense layer is a part of its head; BERT's is the pooler, which a linear head reads
    heads: tuple[HeadType, HeadType] = ("linear", "two_layer")
    models = (MeasuredModel(backbone("roberta"), HeadOnly(), head) for head in heads)
    linear, dense = (count_flops(model, [(1, 7)])[0][0]["flops_per_sample"] for model in models)
    assert dense - linear == 2 * D * D


def test_a_dense_layer_of_the_head_costs_its_gradient_and_that_of_the_input_of_the_head(
    count: Callable[..., dict[str, float]],
) -> None:
    linear, dense = (count("head_only", head=head) for head in ("linear", "two_layer"))
    assert dense["training"] - linear["training"] == 2 * D * D + 2 * D * 2
