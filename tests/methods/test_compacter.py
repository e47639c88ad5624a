"""Compacter against torch.kron, an ordinary adapter of the same weights, and the authors' start."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation
from gluelamp.methods.compacter import Compacter, KroneckerAdapter, KroneckerLinear
from gluelamp.methods.houlsby import Houlsby
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt, train
from tiny_models import HIDDEN, batch, logits, tiny

SUMMANDS, BOTTLENECK = 4, 8
RULE = "bert.encoder.layer.0.attention.output.dropout.adapter.rule"


def compacter(**fields: object) -> Compacter:
    given = {"reduction_factor": HIDDEN // BOTTLENECK, **fields}
    return Compacter(**given)


def randomised(adaptation: Adaptation) -> Adaptation:
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 2
    return adaptation


def adapters(model: nn.Module) -> dict[str, KroneckerAdapter]:
    return {path: m for path, m in model.named_modules() if isinstance(m, KroneckerAdapter)}


def dense(linear: KroneckerLinear, rule: Tensor) -> Tensor:
    """Return the weight (inputs, outputs), product by product."""
    products = [
        torch.kron(a, torch.outer(s, t)) for a, s, t in zip(rule, linear.left, linear.right, strict=True)
    ]
    return torch.stack(products).sum(0)


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 8), (8, 24), (4, 4)])
def test_a_projection_is_the_sum_of_kronecker_products(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    linear = KroneckerLinear(inputs, outputs, SUMMANDS).double()
    nn.init.normal_(linear.bias)
    rule = torch.randn(SUMMANDS, SUMMANDS, SUMMANDS, dtype=torch.float64)
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    torch.testing.assert_close(linear(x, rule), x @ dense(linear, rule) + linear.bias, atol=1e-12, rtol=0)


@pytest.mark.parametrize("places", ["both", "ffn"])
def test_the_model_is_that_of_adapters_with_the_dense_weights(places: str) -> None:
    bare = tiny("bert").double()
    adaptation = randomised(compacter(places=places).adapt(copy.deepcopy(bare)))
    houlsby = Houlsby(bottleneck=BOTTLENECK, train_layer_norm=False)
    plain = houlsby.adapt(bare)
    plain.model.double()
    with torch.no_grad():
        for value in plain.trainable.values():
            value.zero_()
        for path, adapter in adapters(adaptation.model).items():
            for name in ("down", "up"):
                projection = getattr(adapter, name)
                plain.trainable[f"{path}.{name}.weight"].copy_(dense(projection, adapter.rule).T)
                plain.trainable[f"{path}.{name}.bias"].copy_(projection.bias)
    torch.testing.assert_close(logits(adaptation.model), logits(plain.model), atol=1e-11, rtol=0)


def test_the_start_is_the_authors() -> None:
    torch.manual_seed(0)
    linear = KroneckerLinear(4_096, 1_024, SUMMANDS)
    for vectors, size in ((linear.left, 1_024), (linear.right, 256)):
        bound = math.sqrt(2) * math.sqrt(6 / (size + 1))  # glorot-uniform with gain sqrt(2)
        assert 0.98 * bound < vectors.abs().max() <= bound
        assert vectors.var().item() == pytest.approx(bound**2 / 3, rel=0.05)
    assert not linear.bias.any()
    rules = torch.stack([compacter().adapt(tiny("bert")).trainable[RULE].detach() for _ in range(30)])
    assert rules.std().item() == pytest.approx(1e-4, rel=0.1)


def test_all_adapters_train_one_rule() -> None:
    adaptation = randomised(compacter().adapt(tiny("bert").double()))
    found = adapters(adaptation.model).values()
    assert {id(adapter.rule) for adapter in found} == {id(adaptation.trainable[RULE])}
    of_shared = torch.autograd.grad(adaptation.model(**batch()).logits.sum(), adaptation.trainable[RULE])[0]
    for adapter in found:
        adapter.rule = nn.Parameter(adapter.rule.detach().clone())
    own_rules = [adapter.rule for adapter in found]
    of_each = torch.autograd.grad(adaptation.model(**batch()).logits.sum(), own_rules)
    torch.testing.assert_close(of_shared, torch.stack(of_each).sum(0), atol=1e-10, rtol=1e-10)


def test_a_loaded_rule_reaches_every_adapter() -> None:
    source = adapt(compacter(rule_std=0.1), tiny("bert"), seed=0)
    train(source, steps=2)
    target = adapt(compacter(), tiny("bert"), seed=1, state=source.task_state())
    assert all(torch.equal(a.rule, source.trainable[RULE]) for a in adapters(target.model).values())


def test_the_rule_stays_one_through_copies_moves_and_casts() -> None:
    adaptation = compacter().adapt(tiny("bert"))
    copied = copy.deepcopy(adaptation.model).double()
    assert len({id(adapter.rule) for adapter in adapters(copied).values()}) == 1
    weights = MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    weights.masters[list(adaptation.trainable).index(RULE)].fill_(2.0)
    weights.sync()
    for adapter in adapters(adaptation.model).values():
        assert adapter.rule.dtype == torch.bfloat16
        assert torch.equal(adapter.rule, torch.full_like(adapter.rule, 2.0))


@pytest.mark.parametrize(
    "fields", [{"summands": 5}, {"reduction_factor": 16, "summands": 4}, {"reduction_factor": 32}]
)
def test_a_size_that_the_summands_do_not_divide_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"method\.summands=\d must divide the hidden size, here 32"):
        compacter(**fields).adapt(tiny("bert"))
