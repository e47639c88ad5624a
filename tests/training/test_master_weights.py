"""Passes in bf16, trained values in fp32."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from gluelamp.backbones.anatomy import anatomy
from gluelamp.errors import InputError
from gluelamp.hardware import choose_device, choose_dtype, multiplies_bf16
from gluelamp.methods.base import Adaptation
from gluelamp.methods.full import FullFineTuning
from gluelamp.methods.xpeft import XPeft
from gluelamp.training import precision
from gluelamp.training.precision import MasterWeights
from tiny_models import logits, same_bits, tiny

FULL = FullFineTuning()
HALF_A_BF16_STEP = 2.0**-8  # neighbours of 1 in bf16 are 2^-7 apart


def adaptation(method: object = FULL) -> Adaptation:
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    return method.adapt(BertForSequenceClassification(shape))


def weights(adapted: Adaptation, dtype: torch.dtype) -> MasterWeights:
    trained = [*adapted.trainable.values(), *adapted.head.values()]
    return MasterWeights(adapted.model, trained, dtype)


def loss(model: nn.Module) -> torch.Tensor:
    return model(input_ids=torch.arange(12).view(2, 6)).logits.float().square().sum()


def test_in_fp32_the_masters_are_the_parameters_themselves() -> None:
    adapted = adaptation()
    held = weights(adapted, torch.float32)
    assert all(m is p for m, p in zip(held.masters, held.live, strict=True))
    assert {p.dtype for p in adapted.model.parameters()} == {torch.float32}


def test_in_bf16_all_but_head_and_masters_is_bf16() -> None:
    adapted = adaptation()
    before = [p.detach().clone() for p in adapted.trainable.values()]
    held = weights(adapted, torch.bfloat16)
    head = {f"{part}.{name}" for part in ("bert.pooler.dense", "classifier") for name in ("weight", "bias")}
    types = {name: p.dtype for name, p in adapted.model.named_parameters()}
    assert {name for name, dtype in types.items() if dtype == torch.float32} == head
    assert set(types.values()) == {torch.float32, torch.bfloat16}
    assert {master.dtype for master in held.masters} == {torch.float32}
    for master, value in zip(held.masters, before, strict=False):
        assert torch.equal(master, value)  # the exact fp32 values, not the rounded ones
    for master, parameter in zip(held.masters, held.live, strict=True):
        assert (master is parameter) == (parameter.dtype == torch.float32)


def test_an_fp32_module_is_excluded_from_the_cast() -> None:
    adapted = adaptation(XPeft(num_adapters=4, top_k=2, reduction_factor=4))
    held = weights(adapted, torch.bfloat16)
    assert {p.dtype for p in adapted.trainable.values()} == {torch.float32}
    assert all(m is p for m, p in zip(held.masters, held.live, strict=True))
    assert anatomy(adapted.model).blocks[0]["ffn.up"].module.weight.dtype == torch.bfloat16


def test_the_frequencies_of_rotary_positions_are_not_rounded() -> None:
    model, expected = tiny("modernbert"), dict(tiny("modernbert").named_buffers())
    MasterWeights(model, [], torch.bfloat16)
    found = {name: buffer for name, buffer in model.named_buffers() if name.endswith("inv_freq")}
    assert len(found) == 4  # of global and of local attention, each with the original it may go back to
    assert all(same_bits(buffer, expected[name]) for name, buffer in found.items())
    assert torch.isfinite(logits(model)).all()


def test_gradients_of_bf16_passes_move_to_the_masters() -> None:
    adapted = adaptation()
    held = weights(adapted, torch.bfloat16)
    loss(adapted.model).backward()
    found = [None if p.grad is None else p.grad.clone() for p in held.live]
    assert {g.dtype for g in found if g is not None} == {torch.float32, torch.bfloat16}
    held.gather_gradients()
    for master, live, gradient in zip(held.masters, held.live, found, strict=True):
        if gradient is None:
            assert master.grad is None
            continue
        assert master.grad.dtype == torch.float32
        assert torch.equal(master.grad, gradient.float())
        assert live is master or live.grad is None


def test_steps_below_the_resolution_of_bf16_accumulate() -> None:
    adapted = adaptation()
    held = weights(adapted, torch.bfloat16)
    master, live = held.masters[0], held.live[0]
    master.data.fill_(1.0)
    held.sync()
    for step in range(1, 9):
        with torch.no_grad():
            master.add_(HALF_A_BF16_STEP / 4)  # alone it would round away each time
        held.sync()
        assert live.dtype == torch.bfloat16
        assert torch.equal(live, master.to(torch.bfloat16))
        if step == 1:
            assert (live == 1.0).all()
    assert (master == 1.0 + 2 * HALF_A_BF16_STEP).all()
    assert (live == 1.0 + 2 * HALF_A_BF16_STEP).all()


def test_fp32_values_replace_the_parameters_inside_the_context_only() -> None:
    adapted = adaptation()
    held = weights(adapted, torch.bfloat16)
    before = [p.detach().clone() for p in held.live]
    with held.fp32_values():
        state = adapted.task_state()
        assert {value.dtype for value in state.values()} == {torch.float32}
        for live, master in zip(held.live, held.masters, strict=True):
            assert torch.equal(live, master)
    for live, value in zip(held.live, before, strict=True):
        assert live.dtype == value.dtype
        assert torch.equal(live, value)


def test_fp32_values_are_removed_after_an_error() -> None:
    held = weights(adaptation(), torch.bfloat16)
    with pytest.raises(OSError, match="disk is full"), held.fp32_values():
        raise OSError("disk is full")
    assert held.live[0].dtype == torch.bfloat16


def test_the_model_has_the_updated_masters_after_fp32_values() -> None:
    held = weights(adaptation(), torch.bfloat16)
    with held.fp32_values():
        pass
    held.masters[0].data.fill_(3.0)
    held.sync()
    assert (held.live[0] == 3.0).all()


def test_precision_auto_is_what_the_processor_has() -> None:
    cpu = torch.device("cpu")
    native = multiplies_bf16(cpu)
    assert choose_dtype("auto", cpu) == (torch.bfloat16 if native else torch.float32)
    assert choose_dtype("fp32", cpu) == torch.float32
    assert choose_dtype("bf16", cpu) == torch.bfloat16


def test_precision_auto_is_fp32_where_torch_has_no_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> bool:
        raise AttributeError("no such operator")

    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", missing)
    assert choose_dtype("auto", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("has_instructions", [False, True])
def test_avx512_alone_multiplies_no_bf16(monkeypatch: pytest.MonkeyPatch, has_instructions: bool) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)  # it emulates them
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    assert multiplies_bf16(torch.device("cpu")) == has_instructions


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_does_not_exist_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=f"device='{name}' is not usable here. Allowed:"):
        choose_device(name)


@pytest.mark.parametrize(
    ("product", "shapes"),
    [
        (functional.linear, [(2, 8, 64), (16, 64), (16,)]),
        (torch.Tensor.__matmul__, [(2, 8, 64), (64, 16)]),
        (torch.bmm, [(2, 8, 64), (2, 64, 16)]),
        (partial(torch.einsum, "...ai,iab->...bi"), [(8, 2, 64), (64, 2, 16)]),
    ],
)
def test_without_bf16_instructions_products_are_those_of_fp64_rounded_once(
    monkeypatch: pytest.MonkeyPatch, product: Callable[..., torch.Tensor], shapes: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: False)
    torch.manual_seed(0)
    narrow = [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]
    wide = [x.detach().double().requires_grad_() for x in narrow]
    with precision.matmul_context(torch.bfloat16, torch.device("cpu")):
        found = product(*narrow)
    truth = product(*wide)
    slope = torch.randn(found.shape).bfloat16()
    gradients = torch.autograd.grad(found, narrow, slope)
    true_gradients = torch.autograd.grad(truth, wide, slope.double())
    for got, expected in zip([found, *gradients], [truth, *true_gradients], strict=True):
        assert got.dtype == torch.bfloat16
        # sums in fp32 err by far less than the one rounding, but may fall to the other side of a middle
        torch.testing.assert_close(got.double(), expected, rtol=HALF_A_BF16_STEP * 1.01, atol=1e-5)


@pytest.mark.parametrize("instructions", [True, False])
def test_products_of_two_types_are_refused_with_and_without_bf16_instructions(
    monkeypatch: pytest.MonkeyPatch, instructions: bool
) -> None:
    monkeypatch.setattr(precision, "multiplies_bf16", lambda _: instructions)
    with (
        precision.matmul_context(torch.bfloat16, torch.device("cpu")),
        pytest.raises(RuntimeError, match="dtype"),
    ):
        functional.linear(torch.ones(2, 4, dtype=torch.bfloat16), torch.ones(3, 4))
