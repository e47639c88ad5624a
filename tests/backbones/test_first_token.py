"""Computing one token in the last block gives the same logits and gradients, and is undone afterwards."""

from __future__ import annotations

import pytest
import torch

from gluelamp.backbones.anatomy import ARCHITECTURES, anatomy
from gluelamp.backbones.first_token import first_token_only
from tiny_models import batch, tiny

POST_LN = [name for name in ARCHITECTURES if name != "modernbert"]


def gradients(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**inputs).logits.square().sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", POST_LN)
def test_logits_and_gradients_are_unchanged(architecture: str) -> None:
    model, inputs = tiny(architecture).eval().double(), batch()
    logits, expected = model(**inputs).logits, gradients(model, inputs)
    with first_token_only(model):
        torch.testing.assert_close(model(**inputs).logits, logits)
        torch.testing.assert_close(gradients(model, inputs), expected)


@pytest.mark.parametrize("architecture", POST_LN)
def test_the_feed_forward_network_of_the_last_block_computes_one_token(architecture: str) -> None:
    model, inputs = tiny(architecture).eval(), batch()
    lengths: list[int] = []
    for block in anatomy(model).blocks:
        block["ffn.up"].module.register_forward_hook(lambda _, args, out: lengths.append(out.shape[1]))
    length = inputs["input_ids"].shape[1]
    with first_token_only(model):
        model(**inputs)
    assert lengths == [*[length] * (len(lengths) - 1), 1]
    lengths.clear()
    model(**inputs)
    assert set(lengths) == {length}


def test_an_encoder_with_mean_pooling_is_unchanged() -> None:
    model, inputs = tiny("modernbert").eval(), batch()
    with first_token_only(model):
        assert model.base_model(**inputs).last_hidden_state.shape[1] == inputs["input_ids"].shape[1]
