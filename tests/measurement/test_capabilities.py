"""The probes find what they look for: on real methods, and on fakes that break one promise each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from pydantic.dataclasses import dataclass as validated
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import Anatomy
from gluelamp.backbones.load import BackboneConfig
from gluelamp.experiments.measure import MeasureConfig
from gluelamp.measurement.bench import Bench, make_bench
from gluelamp.measurement.capabilities import (
    LENGTH,
    Capabilities,
    Merged,
    detaches_exactly,
    find_capabilities,
    merge,
    refuses_model,
    swaps_in_place,
)
from gluelamp.measurement.parameters import measure_parameters
from gluelamp.methods.adaptation import Change
from gluelamp.methods.base import Method
from gluelamp.methods.changes.tensors import Replacement, TensorChange
from tiny_models import backbone, same_bits

Measuring = Callable[..., MeasureConfig]
WEIGHT = "bert.encoder.layer.0.intermediate.dense.weight"
BIAS = "bert.encoder.layer.0.intermediate.dense.bias"


@pytest.fixture
def tiny(measuring: Measuring) -> BackboneConfig:
    return measuring("backbone=tiny", "backbone.path=null").backbone


@pytest.fixture
def bench(tiny: BackboneConfig) -> Bench:
    return make_bench(tiny, tiny, [backbone("bert"), backbone("modernbert")])


@pytest.fixture
def find(measuring: Measuring, bench: Bench) -> Callable[..., Capabilities]:
    def found(*overrides: str) -> Capabilities:
        return find_capabilities(measuring("backbone=tiny", "backbone.path=null", *overrides).method, bench)

    return found


class Fake(TensorChange):
    """A change that keeps every promise; the fakes break one each."""

    def __init__(self, model: PreTrainedModel, name: str = WEIGHT) -> None:
        super().__init__(model, name, Replacement(model.get_parameter(name)))


class MergesIntoNothing(Fake):
    def merge(self) -> None:
        super().detach()


class StaysAfterMerging(Fake):
    def merge(self) -> None:
        """Leave the parametrisation in place, and something to multiply."""
        self.module.register_forward_hook(lambda _, args, output: output + 0 * args[0] @ args[0].mT @ output)


class AddsAndSubtracts(Fake):
    """Writes the update into the weight, and takes it out again: exact in algebra, not in floats."""

    def detach(self) -> None:
        update = self.parametrization.values.detach() + 1
        super().detach()
        self.module.weight.data.add_(update).sub_(update)


class TurnsZeros(Fake):
    """Gives a value back with another sign of zero, which ``torch.equal`` does not see."""

    def detach(self) -> None:
        super().detach()
        self.module.bias.data[self.module.bias == 0] = -0.0


class ForgetsItsHook(Fake):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.module.register_forward_hook(lambda _, __, output: 1.5 * output)


class StoresHalf(Fake):
    """Loads the first row only."""

    def load(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.parametrization.values[0] = state[f"{self.name}.values"][0]


@validated(frozen=True, kw_only=True)
class FakeMethod(Method):
    change: Any

    def changes(self, model: PreTrainedModel, parts: Anatomy) -> list[Change]:
        return [self.change(model)]


def fake(change: type[Fake]) -> FakeMethod:
    return FakeMethod(name="fake", learning_rate=1e-3, change=change)


def test_a_change_that_keeps_its_promises_is_found_to(bench: Bench) -> None:
    method = fake(Fake)
    assert merge(method, bench.small) == Merged(agrees=True, extra_flops_pct=0.0)
    assert detaches_exactly(method, bench.small)
    assert swaps_in_place(method, bench.small)


def test_a_merge_that_loses_the_change_is_found_out(bench: Bench) -> None:
    assert merge(fake(MergesIntoNothing), bench.small) == Merged(agrees=False, extra_flops_pct=0.0)


def test_a_merge_that_leaves_work_behind_is_found_out(bench: Bench) -> None:
    merged = merge(fake(StaysAfterMerging), bench.small)
    assert merged is not None
    assert merged.agrees
    assert merged.extra_flops_pct > 1


@pytest.mark.parametrize("change", [AddsAndSubtracts, TurnsZeros, ForgetsItsHook])
def test_a_detach_that_is_not_exact_is_found_out(bench: Bench, change: type[Fake]) -> None:
    bench.small.get_parameter(BIAS).data[0] = 0.0
    assert detaches_exactly(fake(Fake), bench.small)
    assert not detaches_exactly(fake(change), bench.small)


def test_a_state_that_is_not_loaded_whole_is_found_out(bench: Bench) -> None:
    assert not swaps_in_place(fake(StoresHalf), bench.small)


@pytest.mark.parametrize("method", ["lora", "pafi", "hiwi", "bitfit"])
def test_what_merges_costs_nothing_then(find: Callable[..., Capabilities], method: str) -> None:
    found = find(f"method={method}")
    assert found.merged == Merged(agrees=True, extra_flops_pct=0.0)
    assert found.detaches_exactly
    assert found.swaps_in_place


def test_adapters_do_not_merge_and_cost_their_two_projections(
    find: Callable[..., Capabilities], tiny: BackboneConfig
) -> None:
    found = find("method=houlsby", "method.bottleneck=8")
    layers, d, f = (tiny.shape[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size"))
    block = 2 * LENGTH * (4 * d * d + 2 * d * f) + 4 * LENGTH**2 * d
    head = 2 * d * d + 2 * d * 2  # the pooler and the classifier read one token
    adapters = 2 * (2 * LENGTH * 2 * d * 8)
    assert found.merged is None
    assert found.extra_flops_pct == pytest.approx(100 * layers * adapters / (layers * block + head))


def test_the_bytes_are_those_of_the_count_without_values(
    find: Callable[..., Capabilities], measuring: Measuring
) -> None:
    config = measuring("backbone=tiny", "backbone.path=null", "method=pafi")
    (counted,) = measure_parameters(config.backbone, config.method)
    found = find("method=pafi")
    assert (found.stored_bytes, found.shared_bytes) == (counted["stored_bytes"], counted["shared_bytes"])
    assert found.stored_bytes > 0


def test_phases_and_refused_tasks_are_reported(find: Callable[..., Capabilities]) -> None:
    assert find("method=fish", "method.density=0.1").phases == 1
    mixture = find("method=adamix")
    assert mixture.phases == 0
    assert mixture.tasks["classification"] is None
    assert "method.consistency=kl" in (mixture.tasks["regression"] or "")


def test_a_refused_architecture_comes_with_its_missing_handle(find: Callable[..., Capabilities]) -> None:
    served = find("method=lora").architectures
    assert served["bert"] is None
    assert "no separate 'attention.query'" in (served["modernbert"] or "")


def test_only_bad_input_counts_as_a_refusal(bench: Bench) -> None:
    class Broken(Fake):
        def __init__(self, model: PreTrainedModel) -> None:
            raise AttributeError("a defect")

    with pytest.raises(AttributeError, match="a defect"):
        refuses_model(fake(Broken), bench.shells[0])


def test_the_findings_repeat_and_leave_models_and_randomness_alone(
    find: Callable[..., Capabilities], bench: Bench
) -> None:
    before = {name: value.clone() for name, value in bench.small.state_dict().items()}
    state = torch.get_rng_state()
    assert find("method=lora") == find("method=lora")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(same_bits(value, before[name]) for name, value in bench.small.state_dict().items())


def test_no_tensor_of_the_bench_stands_at_its_usual_start(bench: Bench) -> None:
    for name, value in bench.small.named_parameters():
        assert not ((value == 0) | (value == 1)).any(), name
