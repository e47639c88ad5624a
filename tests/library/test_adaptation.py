"""An adaptation in a user's own program: what it reports, its optimiser, its loss and its files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gluelamp as gl
from gluelamp.methods.head_only import HeadOnly
from tiny_models import batch, logits, same_bits, tiny

LABELS = torch.arange(8) % 3


def trained(method: gl.Method, steps: int = 2) -> gl.Adaptation:
    adapted = method.adapt(tiny("bert"))
    optimizer = adapted.optimizer(1e-2)
    for step in range(steps):
        adapted.loss({**batch(step), "labels": LABELS}).backward()
        optimizer.step()
        optimizer.zero_grad()
    return adapted


def test_a_summary_has_the_counts_and_prints_them() -> None:
    summary = gl.HiWi(bottleneck=2).adapt(tiny("bert")).summary()
    stored = 2 * (32 + 64)  # the biases of both layers' two projections
    head = 32 * 32 + 32 + 3 * 32 + 3  # the pooler and the classifier
    assert (summary.trained, summary.head) == (2 * 2 * stored, head)
    assert (summary.method_bytes, summary.head_bytes, summary.shared_bytes) == (4 * stored, 4 * head, 0)
    assert summary.merges
    text = str(summary)
    assert text.startswith("HiWi(target='bias'")
    assert "768 bytes, and 4,620 of the head" in text
    houlsby = gl.Houlsby(bottleneck=4).adapt(tiny("bert")).summary()
    assert not houlsby.merges
    assert str(houlsby).endswith("no")


def test_method_and_head_have_their_own_rates() -> None:
    adapted = gl.LoRA(rank=2).adapt(tiny("bert"))
    values = [*adapted.trainable.values(), *adapted.head.values()]
    assert [id(one) for one in adapted.parameters()] == [id(one) for one in values]
    assert {id(one) for one in values} == {id(p) for p in adapted.model.parameters() if p.requires_grad}
    method, head = adapted.parameter_groups(1e-3, 1e-2, weight_decay=0.1)
    assert (method["lr"], head["lr"], head["weight_decay"]) == (1e-3, 1e-2, 0.1)
    assert adapted.parameter_groups(1e-3)[1]["lr"] == 1e-3
    (only,) = HeadOnly().adapt(tiny("bert")).parameter_groups(1e-3, 1e-2)
    assert only["lr"] == 1e-2
    defaults = gl.PaFi().adapt(tiny("bert")).optimizer().param_groups
    assert [group["lr"] for group in defaults] == [1e-2, 5e-3]


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {}], ids=str)
def test_a_step_is_seen_by_the_next_pass_although_a_pass_came_before_it(options: dict[str, bool]) -> None:
    for method in (gl.PaFi(density=0.2), gl.XPEFT(mask="soft", num_adapters=4)):
        adapted = method.adapt(tiny("bert"))
        logits(adapted.model)
        optimizer = torch.optim.AdamW(adapted.parameter_groups(1e-2), **options)
        adapted.loss({**batch(), "labels": LABELS}).backward()
        before = logits(adapted.model)  # caches what depends on the values before the step
        optimizer.step()
        after = logits(adapted.model)
        assert not torch.equal(before, after)
        adapted.invalidate()
        assert torch.equal(after, logits(adapted.model))


def test_a_step_of_the_own_optimiser_is_seen_after_any_pass() -> None:
    adapted = gl.PaFi(density=0.2).adapt(tiny("bert"))
    optimizer = adapted.optimizer(1e-2)
    adapted.loss({**batch(), "labels": LABELS}).backward()
    before = adapted.model(**batch()).logits  # recorded by autograd, and so not repeated for the next pass
    optimizer.step()
    assert not torch.equal(before, logits(adapted.model))


def test_the_loss_is_the_models_own_plus_what_the_method_adds() -> None:
    inputs = {**batch(), "labels": LABELS}
    adapted = gl.LoRA(rank=2).adapt(tiny("bert"))
    assert torch.equal(adapted.loss(inputs), adapted.model(**inputs).loss)
    routed = gl.AdaMix(bottleneck=4, consistency="mse").adapt(tiny("bert"))
    routed.model.train()
    torch.manual_seed(0)
    found = routed.loss(inputs)
    torch.manual_seed(0)
    first, second = routed.model(**inputs), routed.model(**inputs)
    added = torch.nn.functional.mse_loss(first.logits, second.logits)
    torch.testing.assert_close(found, first.loss + added, atol=1e-6, rtol=0)
    assert added > 0
    with pytest.raises(gl.InputError, match="Give the batch labels"):
        adapted.loss(batch())


@pytest.mark.parametrize("name", ["pafi", "hiwi", "xpeft", "lora", "houlsby"])
def test_a_task_is_saved_and_loaded_into_the_same_backbone_only(name: str, tmp_path: Path) -> None:
    options = {"pafi": {"density": 0.1}, "xpeft": {"num_adapters": 10, "top_k": 4}}.get(name, {})
    method = gl.method(name, **options)
    adapted = trained(method)
    expected = logits(adapted.model)
    adapted.save(tmp_path / "task.safetensors")  # after passes, which of a sparse method write into weights
    adapted.save(str(tmp_path / "again.safetensors"))
    assert torch.equal(logits(adapted.model), expected)

    other = method.adapt(tiny("bert"))
    other.save(tmp_path / "other.safetensors")
    start = logits(other.model)
    other.load(tmp_path / "task.safetensors")
    assert torch.equal(logits(other.model), expected)
    other.load(str(tmp_path / "other.safetensors"))
    assert torch.equal(logits(other.model), start)
    bare, restored = tiny("bert").state_dict(), other.detach().state_dict()
    assert all(same_bits(restored[name], value) for name, value in bare.items() if name not in other.head)

    changed = tiny("bert")
    changed.bert.embeddings.word_embeddings.weight.data[50, 0] += 1e-3
    with pytest.raises(gl.InputError, match="another backbone"):
        method.adapt(changed).load(tmp_path / "task.safetensors")
    with pytest.raises(gl.InputError, match=r"missing\.safetensors"):
        adapted.load(tmp_path / "missing.safetensors")
