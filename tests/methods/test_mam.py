"""MAM against the two methods that it puts together, and its defaults against the authors' GLUE script."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import anatomy
from gluelamp.methods.mam import MAM
from gluelamp.methods.parallel import Parallel
from gluelamp.methods.prefix import Prefix
from methods.cases import GetMethod
from methods.dispatched import padded
from methods.test_wiring import randomised
from tiny_models import tiny

MIXED = {"length": 3, "prefix_init_std": 0.3, "bottleneck": 5, "scale": 0.7, "dropout": 0.4}


def one_after_the_other(architecture: str, network: int | None) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """Return a model with a prefix and with parallel adapters, and the values of both."""
    model = tiny(architecture)
    prefix = Prefix(length=3, init_std=0.3, bottleneck=network)
    parallel = Parallel(bottleneck=5, scale=0.7, dropout=0.4)
    values = prefix.adapt(model).trainable
    for change in parallel.changes(model, anatomy(model)):  # adapt() refuses an adapted model
        values |= change.parameters()
    return model, values


@pytest.mark.parametrize("network", [None, 4])
def test_it_starts_as_the_two_do(network: int | None) -> None:
    torch.manual_seed(0)
    mam = MAM(**MIXED, prefix_bottleneck=network).adapt(tiny("bert")).trainable
    torch.manual_seed(0)
    _, expected = one_after_the_other("bert", network)
    assert mam.keys() == expected.keys()
    assert all(torch.equal(mam[name], value) for name, value in expected.items())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("network", [None, 4])
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_it_is_the_prefix_and_the_parallel_adapter(
    architecture: str, network: int | None, training: bool
) -> None:
    mam = randomised(MAM(**MIXED, prefix_bottleneck=network).adapt(tiny(architecture).double()))
    model, values = one_after_the_other(architecture, network)
    for name, value in values.items():
        value.data = mam.trainable[name].detach().clone()

    def found(model: nn.Module, values: dict[str, nn.Parameter]) -> list[Tensor]:
        torch.manual_seed(0)  # of the dropout
        outputs = model.double().train(training)(**padded()).logits
        return [outputs, *torch.autograd.grad(outputs.square().sum(), list(values.values()))]

    ours = found(mam.model, {name: mam.trainable[name] for name in values})
    assert all(torch.equal(*pair) for pair in zip(ours, found(model, values), strict=True))


def test_the_defaults_are_those_of_the_authors_glue_script(method: GetMethod) -> None:
    mam = method("mam")
    given = ("length", "prefix_bottleneck", "bottleneck", "scale", "dropout")
    assert {name: getattr(mam, name) for name in given} == {
        **{"length": 16, "prefix_bottleneck": 800},
        **{"bottleneck": 16, "scale": 2.0},
        "dropout": 0.1,  # of roberta-base, whose own the adapters take
    }
    assert MAM() == MAM(**{name: getattr(mam, name) for name in given})
