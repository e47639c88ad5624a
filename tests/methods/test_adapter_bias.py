"""AdapterBias against its formula and its matrix of rank one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gluelamp.methods.adapter_bias import AdapterBias
from gluelamp.methods.base import Adaptation
from methods.test_wiring import randomised
from tiny_models import FFN, HIDDEN, LAYERS, logits, tiny

BRANCH = "bert.encoder.layer.1.output"


def adapter_bias(**fields: object) -> AdapterBias:
    return AdapterBias(**fields)


def adapted(**fields: object) -> Adaptation:
    return randomised(adapter_bias(**fields).adapt(tiny("bert").double()))


def values(adaptation: Adaptation, layer: int, alpha_of: int | None = None) -> list[np.ndarray]:
    """V, the row w and the number beta of a layer."""
    alpha = layer if alpha_of is None else alpha_of
    names = [f"{layer}.output.dropout.adapter.vector"]
    names += [f"{alpha}.output.dropout.adapter.alpha.{tensor}" for tensor in ("weight", "bias")]
    return [adaptation.trainable[f"bert.encoder.layer.{name}"].detach().numpy() for name in names]


def layer_norm(norm: nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()


@pytest.mark.parametrize("dropped", [False, True], ids=["evaluation", "all-dropped"])
def test_each_token_is_shifted_along_v_by_its_alpha_after_the_dropout(dropped: bool) -> None:
    adaptation = adapted()
    branch = adaptation.model.get_submodule(BRANCH)
    generator = torch.Generator().manual_seed(1)
    g, u = (torch.randn(2, 5, n, generator=generator, dtype=torch.float64) for n in (FFN, HIDDEN))
    branch.dropout.train(dropped).p = 1.0
    with torch.no_grad():
        output = branch(g, u).numpy()
    v, w, beta = values(adaptation, 1)
    linear = {name: value.detach().numpy() for name, value in branch.dense.named_parameters()}
    m = 0 if dropped else g.numpy() @ linear["weight"].T + linear["bias"]
    by_hand = layer_norm(branch.LayerNorm, m + (g.numpy() @ w.T + beta) * v + u.numpy())
    np.testing.assert_allclose(output, by_hand, rtol=0, atol=1e-12)


@pytest.mark.parametrize("share_alpha", [False, True], ids=["own-alpha", "shared-alpha"])
def test_it_merges_as_a_matrix_of_rank_one_and_a_bias(share_alpha: bool) -> None:
    adaptation = adapted(share_alpha=share_alpha)
    outputs = logits(adaptation.model)
    of_each = [values(adaptation, layer, 0 if share_alpha else None) for layer in range(LAYERS)]
    merged, bare = adaptation.merge(), tiny("bert").double()
    torch.testing.assert_close(logits(merged), outputs, atol=1e-12, rtol=0)
    for layer, (v, w, beta) in enumerate(of_each):
        now, before = (m.get_submodule(f"bert.encoder.layer.{layer}.output.dense") for m in (merged, bare))
        weight, bias = (value.detach().numpy() for value in (before.weight, before.bias))
        np.testing.assert_allclose(now.weight.detach().numpy(), weight + np.outer(v, w), atol=1e-14)
        np.testing.assert_allclose(now.bias.detach().numpy(), bias + beta * v, atol=1e-14)


def test_the_norms_after_attention_stay_frozen() -> None:
    trained = {n.removesuffix(".values") for n in adapter_bias().adapt(tiny("bert")).trainable}
    norms = {n for n, _ in tiny("bert").named_parameters() if "LayerNorm" in n}
    assert trained & norms == {n for n in norms if "attention" not in n}  # the rule of the released code


def test_only_the_row_of_alpha_is_drawn() -> None:
    trained = adapter_bias(train_layer_norm=False, init_std=0.5).adapt(tiny("bert")).trainable
    rows = {name: value for name, value in trained.items() if name.endswith("alpha.weight")}
    assert all(value.eq(0).all() == (name not in rows) for name, value in trained.items())
    assert torch.cat([*rows.values()]).std().item() == pytest.approx(0.5, rel=0.3)


def test_a_pass_keeps_nothing_of_its_batch() -> None:
    adaptation = adapted()
    before = copy.copy(vars(adaptation.changes[0].module))
    adaptation.model(input_ids=torch.tensor([[1, 2, 3]]))
    assert vars(adaptation.changes[0].module) == before
