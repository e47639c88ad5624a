"""The parallel adapter against its formula in float64, and its start against the authors'."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gluelamp.backbones.anatomy import ARCHITECTURES, anatomy
from gluelamp.backbones.dropout import set_dropout
from gluelamp.backbones.first_token import first_token_only
from gluelamp.methods.base import Adaptation
from gluelamp.methods.changes.inserted import Bottleneck
from gluelamp.methods.parallel import Parallel
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt
from methods.dispatched import padded
from methods.test_wiring import randomised
from tiny_models import HIDDEN, LAYERS, batch, logits, tiny

POST_LN = [name for name in ARCHITECTURES if name != "modernbert"]

Update = Callable[[Tensor], Tensor]


def parallel(**fields: object) -> Parallel:
    return Parallel(**{"bottleneck": 5, **fields})


def adapters(adaptation: Adaptation) -> list[Bottleneck]:
    return [module for module in adaptation.model.modules() if isinstance(module, Bottleneck)]


def bert(layer: nn.Module, x: Tensor, update: Update) -> Tensor:
    u = layer.attention(x)[0]
    m = layer.output.dense(layer.intermediate(u))
    return layer.output.LayerNorm(m + update(u) + u)


def distilbert(layer: nn.Module, x: Tensor, update: Update) -> Tensor:
    u = layer.sa_layer_norm(layer.attention(x)[0] + x)
    m = layer.ffn.lin2(layer.ffn.activation(layer.ffn.lin1(u)))
    return layer.output_layer_norm(m + update(u) + u)


def modernbert(layer: nn.Module, x: Tensor, update: Update) -> Tensor:
    """The adapter reads what the network reads: the residual stream after its LayerNorm."""
    h = x + layer.attn(layer.attn_norm(x), position_embeddings=no_turn(x))[0]
    u = layer.mlp_norm(h)
    value, gate = layer.mlp.Wi(u).chunk(2, dim=-1)
    return h + layer.mlp.Wo(layer.mlp.act(value) * gate) + update(u)


def no_turn(x: Tensor) -> tuple[Tensor, Tensor]:
    cosine = x.new_ones(*x.shape[:2], HIDDEN // 4)
    return cosine, torch.zeros_like(cosine)


@pytest.mark.parametrize("scale", [2.0, 0.3])
@pytest.mark.parametrize("by_hand", [bert, distilbert, modernbert])
def test_a_block_is_the_formula(by_hand: Callable[[nn.Module, Tensor, Update], Tensor], scale: float) -> None:
    architecture = by_hand.__name__
    bare = tiny(architecture).double()
    adaptation = randomised(parallel(scale=scale).adapt(copy.deepcopy(bare)))
    adaptation.model.eval()
    path = f"{bare.base_model_prefix}.{ARCHITECTURES[architecture].layers}"
    x = torch.randn(2, 7, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options = {"position_embeddings": no_turn(x)} if architecture == "modernbert" else {}
    for index, adapter in enumerate(adapters(adaptation)):

        def update(u: Tensor, down: nn.Linear = adapter.down, up: nn.Linear = adapter.up) -> Tensor:
            return scale * (torch.relu(u @ down.weight.T + down.bias) @ up.weight.T + up.bias)

        with torch.no_grad():
            output = adaptation.model.get_submodule(f"{path}.{index}")(x, **options)
            expected = by_hand(bare.get_submodule(f"{path}.{index}"), x, update)
        hidden = output if isinstance(output, Tensor) else output[0]
        torch.testing.assert_close(hidden, expected, atol=1e-12, rtol=0)
    assert len(adapters(adaptation)) == LAYERS


def test_the_start_is_the_authors() -> None:
    adaptation = adapt(parallel(bottleneck=200), tiny("bert"), seed=0)
    for adapter in adapters(adaptation):
        bound = math.sqrt(1 / HIDDEN)  # kaiming-uniform with a = sqrt(5)
        assert 0.98 * bound < adapter.down.weight.abs().max() <= bound
        assert adapter.down.weight.var().item() == pytest.approx(bound**2 / 3, rel=0.05)
        assert not any(x.any() for x in (adapter.down.bias, adapter.up.weight, adapter.up.bias))


def test_dropout_is_between_the_projections_in_training_alone() -> None:
    adaptation = randomised(parallel(dropout=0.5).adapt(without_dropout("bert")))
    (first, *_) = adapters(adaptation)
    seen: list[Tensor] = []
    first.down.register_forward_hook(lambda _, __, output: seen.append(output.relu()))
    first.up.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits(adaptation.model)
    active, entered = seen
    assert torch.equal(entered, active)
    seen.clear()
    torch.manual_seed(0)
    adaptation.model.train()(**batch())
    active, entered = seen
    remaining = entered != 0
    assert torch.equal(entered[remaining], 2 * active[remaining])
    assert remaining.double().sum() / (active != 0).double().sum() == pytest.approx(0.5, abs=0.1)


def without_dropout(architecture: str) -> nn.Module:
    model = tiny(architecture).double()
    set_dropout(model, 0.0)
    return model


@pytest.mark.parametrize("architecture", POST_LN)
def test_no_token_but_the_first_is_needed_after_the_last_attention(architecture: str) -> None:
    adaptation, inputs = randomised(parallel().adapt(tiny(architecture).double())), padded()
    adaptation.model.eval()
    values = list(adaptation.trainable.values())

    def found() -> list[Tensor]:
        outputs = adaptation.model(**inputs).logits
        return [outputs, *torch.autograd.grad(outputs.square().sum(), values)]

    assert not adaptation.needs_every_token
    expected = found()
    with first_token_only(adaptation.model):
        torch.testing.assert_close(found(), expected)


def test_a_pass_in_bf16_is_near() -> None:
    adaptation = adapt(parallel(), tiny("bert"), seed=0)
    for adapter in adapters(adaptation):
        nn.init.normal_(adapter.up.weight, std=0.2)
    outputs = logits(adaptation.model)
    MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    assert {value.dtype for value in adaptation.trainable.values()} == {torch.bfloat16}
    torch.testing.assert_close(logits(adaptation.model), outputs, atol=0.1, rtol=0)  # of outputs about 1


def test_a_copy_has_its_own_adapters() -> None:
    adaptation = randomised(parallel().adapt(tiny("bert").double()))
    before = logits(adaptation.model)
    copied = copy.deepcopy(adaptation.model)
    for value in adaptation.trainable.values():
        nn.init.zeros_(value)
    assert torch.equal(logits(copied), before)
    assert not torch.equal(logits(adaptation.model), before)


def test_no_hook_is_left_behind() -> None:
    adaptation = parallel().adapt(tiny("bert"))
    readers = [block["ffn.input"].module for block in anatomy(adaptation.model).blocks]
    assert all(module._forward_pre_hooks for module in readers)
    adaptation.detach()
    assert not any(module._forward_pre_hooks for module in readers)
