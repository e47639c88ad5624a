"""``save_pretrained`` of an adapted model writes the merged model or refuses; nothing is lost in silence."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import gluelamp as gl
from library.test_adaptation import trained
from tiny_models import logits, tiny

MERGING = {"pafi": gl.PaFi(density=0.2), "hiwi": gl.HiWi(), "lora": gl.LoRA(rank=2)}
OTHERS = {"houlsby": gl.Houlsby(bottleneck=4), "xpeft": gl.XPEFT(num_adapters=4, top_k=2), "dyt": gl.DyT()}


@pytest.mark.parametrize("name", MERGING)
def test_the_merged_model_is_written_and_the_live_one_stays_adapted(name: str, tmp_path: Path) -> None:
    adapted = trained(MERGING[name])
    expected, values = logits(adapted.model), [*adapted.parameters()]
    adapted.model.save_pretrained(tmp_path / "model", max_shard_size="1MB")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(loaded), expected, atol=1e-5, rtol=0)
    assert torch.equal(logits(adapted.model), expected)
    assert all(value.requires_grad for value in values)
    assert [id(one) for one in adapted.parameters()] == [id(one) for one in values]


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_merged_is_refused(name: str, tmp_path: Path) -> None:
    adapted = trained(OTHERS[name])
    with pytest.raises(gl.InputError, match=r"cannot be merged.*adapted\.save\(PATH\).*gluelamp\.export"):
        adapted.model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    adapted.detach().save_pretrained(tmp_path / "model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    # Another implementation of attention rounds differently.
    torch.testing.assert_close(logits(loaded), logits(adapted.model), atol=1e-5, rtol=0)


def test_after_merging_it_is_the_models_own_method() -> None:
    adapted = gl.BitFit().adapt(tiny("bert"))
    with pytest.raises(gl.InputError, match=r"adapted already\. Call detach\(\)"):
        gl.BitFit().adapt(adapted.model)
    twin = copy.deepcopy(adapted.model)
    assert twin.save_pretrained.__self__.model is twin  # a copy does not write the original
    own = type(adapted.model).save_pretrained
    assert adapted.model.save_pretrained.__func__ is not own
    assert adapted.merge().save_pretrained.__func__ is own
    assert gl.BitFit().adapt(adapted.model).detach().save_pretrained.__func__ is own
