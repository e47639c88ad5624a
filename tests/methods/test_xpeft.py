"""X-PEFT's masks, their bits and their gradient against sums over the adapters written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.methods.xpeft import XPeft, selected_adapters
from gluelamp.methods.xpeft_bank import Bank
from gluelamp.methods.xpeft_modules import Mask, SelectedAdapter
from methods.cases import GetMethod, adapt, snapshot
from tiny_models import logits, tiny

N, K, WIDTH, INNER = 10, 4, 6, 3


def xpeft(**fields: object) -> XPeft:
    options = {"num_adapters": N, "top_k": K, "normalise_hard": "none"} | fields
    return XPeft(**options)


def mask_of(method: XPeft, logit_values: Tensor) -> Mask:
    count = len(logit_values)
    mask = method.adapter_over(Bank(torch.empty(count, INNER, WIDTH), None)).mask_down.double().eval()
    mask.logits.data = logit_values.double()
    return mask


def selected(method: XPeft, biases: bool = False) -> SelectedAdapter:
    """A selecting adapter in float64 with logits and a bank of unit size."""
    generator = torch.Generator().manual_seed(0)

    def randomised(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    down, up = randomised(N, INNER, WIDTH), None if method.banks == "shared" else randomised(N, WIDTH, INNER)
    more = (randomised(N, INNER), randomised(N, WIDTH)) if biases else ()
    adapter = method.adapter_over(Bank(down, up, *more))
    for mask in (adapter.mask_down, adapter.mask_up):
        mask.logits.data = randomised(N)
    return adapter


def by_hand_weights(method: XPeft, logit_values: Tensor) -> Tensor:
    if method.mask == "soft":
        powers = [torch.exp(value) for value in logit_values]
        return torch.stack(powers) / sum(powers)
    largest = sorted(range(N), key=lambda i: -logit_values[i])[: method.top_k]
    each = 1 / method.top_k if method.normalise_hard == "k" else 1.0
    return torch.tensor([each if i in largest else 0.0 for i in range(N)], dtype=torch.float64)


VARIANTS = [xpeft(mask="soft"), xpeft(mask="hard"), xpeft(mask="hard", normalise_hard="k")]
variants = pytest.mark.parametrize("method", VARIANTS, ids=["soft", "hard", "hard-mean"])


@variants
def test_the_adapter_is_the_weighted_sum_over_all_given_ones(method: XPeft) -> None:
    adapter = selected(method)
    hidden = torch.randn(2, 5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    down = by_hand_weights(method, adapter.mask_down.logits.detach())
    up = by_hand_weights(method, adapter.mask_up.logits.detach())
    inner = sum(w * (hidden @ adapter.bank_down[i].T) for i, w in enumerate(down))
    expected = sum(w * (inner.clamp(min=0) @ adapter.bank_up[i].T) for i, w in enumerate(up))
    torch.testing.assert_close(adapter(hidden), expected, rtol=1e-12, atol=1e-12)


@variants
def test_the_biases_of_the_given_adapters_are_summed_with_the_weights_of_their_projections(
    method: XPeft,
) -> None:
    adapter = selected(method, biases=True)
    hidden = torch.randn(5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    down = by_hand_weights(method, adapter.mask_down.logits.detach())
    up = by_hand_weights(method, adapter.mask_up.logits.detach())
    given = (adapter.bank_down, adapter.bank_down_bias, adapter.bank_up, adapter.bank_up_bias)
    bank_down, bank_down_bias, bank_up, bank_up_bias = (tensor for tensor in given if tensor is not None)
    inner = sum(w * (hidden @ bank_down[i].T + bank_down_bias[i]) for i, w in enumerate(down))
    expected = sum(w * (inner.clamp(min=0) @ bank_up[i].T + bank_up_bias[i]) for i, w in enumerate(up))
    torch.testing.assert_close(adapter(hidden), expected, rtol=1e-12, atol=1e-12)


def test_a_shared_pool_projects_down_and_transposed_up_each_by_its_own_mask() -> None:
    method = xpeft(mask="soft", banks="shared")
    adapter = selected(method)
    hidden = torch.randn(5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    down = by_hand_weights(method, adapter.mask_down.logits.detach())
    up = by_hand_weights(method, adapter.mask_up.logits.detach())
    inner = sum(w * (hidden @ adapter.bank_down[i].T) for i, w in enumerate(down))
    expected = sum(w * (inner.clamp(min=0) @ adapter.bank_down[i]) for i, w in enumerate(up))
    torch.testing.assert_close(adapter(hidden), expected, rtol=1e-12, atol=1e-12)
    assert len(list(adapter.buffers())) == 1


@variants
def test_the_gradient_is_the_softmaxs_of_the_products_with_each_adapter(method: XPeft) -> None:
    """The straight-through rule: dL/dw_i = <dL/dA, A_i>, then back through the softmax alone."""
    adapter = selected(method)
    hidden = torch.randn(7, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    adapter(hidden).square().sum().backward()

    down = by_hand_weights(method, adapter.mask_down.logits.detach())
    up = by_hand_weights(method, adapter.mask_up.logits.detach())
    a = sum(w * adapter.bank_down[i] for i, w in enumerate(down)).requires_grad_(True)
    b = sum(w * adapter.bank_up[i] for i, w in enumerate(up)).requires_grad_(True)
    ((hidden @ a.T).clamp(min=0) @ b.T).square().sum().backward()

    for mask, gradient, bank in (
        (adapter.mask_down, a.grad, adapter.bank_down),
        (adapter.mask_up, b.grad, adapter.bank_up),
    ):
        products = torch.stack([(gradient * given).sum() for given in bank])
        soft = torch.softmax(mask.logits.detach(), dim=0)
        expected = soft * (products - (soft * products).sum())
        torch.testing.assert_close(mask.logits.grad, expected, rtol=1e-10, atol=1e-10)


def test_a_hard_mask_takes_exactly_k_with_weight_one() -> None:
    for name, mask in adapt(xpeft(), tiny("bert"), seed=0).model.named_modules():
        if isinstance(mask, Mask):
            weights = mask().detach()
            assert sorted(weights.tolist()) == [0.0] * (N - K) + [1.0] * K, name


def test_gumbel_noise_samples_other_adapters_in_training_only() -> None:
    mask = mask_of(xpeft(gumbel_tau=1.0), torch.zeros(N))
    torch.manual_seed(0)
    assert torch.equal(mask(), mask())
    mask.train()
    samples = torch.stack([mask().detach() for _ in range(20)])
    assert samples.round().sum(1).tolist() == [K] * 20
    assert len(samples.unique(dim=0)) > 1


@pytest.mark.parametrize("n", [1, 8, 10, 13, 100])
def test_bits_come_back_as_the_same_choice(n: int) -> None:
    method = xpeft(num_adapters=n, top_k=max(1, n // 2))
    mask = mask_of(method, torch.randn(n, generator=torch.Generator().manual_seed(n)))
    stored = mask.stored()
    assert stored.dtype == torch.uint8
    assert len(stored) == -(-n // 8)
    text = "".join(f"{byte:08b}" for byte in stored.tolist())
    assert [int(bit) for bit in text[:n]] == mask().round().int().tolist()
    assert set(text[n:]) <= {"0"}
    other = mask_of(method, torch.zeros(n))
    other.load(stored)
    assert torch.equal(other(), mask())
    assert torch.equal(other.stored(), stored)


def test_bits_of_another_k_are_refused_before_anything_moves() -> None:
    state = snapshot(adapt(xpeft(top_k=K + 1), tiny("bert"), seed=0))
    adaptation = adapt(xpeft(), tiny("bert"), seed=1)
    before = logits(adaptation.model)
    with pytest.raises(InputError, match=r"masks select 5 adapters, but method\.top_k=4\. Load it with"):
        adaptation.load_task_state(state)
    assert torch.equal(logits(adaptation.model), before)


def test_a_soft_mask_has_no_k() -> None:
    assert xpeft(mask="soft", top_k=11).top_k == 11


def test_another_methods_adaptation_has_no_masks(method: GetMethod) -> None:
    adaptation = method("pfeiffer").adapt(tiny("bert"))
    with pytest.raises(InputError, match="This is not an X-PEFT adaptation; apply method=xpeft"):
        selected_adapters(adaptation)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_adapters": None}, r"method\.num_adapters=null needs a trained method\.bank"),
        ({"bank": "a", "banks": "shared"}, r"method\.banks='shared' is for random banks"),
        ({"mask": "soft", "gumbel_tau": 1.0}, r"method\.gumbel_tau=1\.0 is noise on hard masks"),
        ({"num_adapters": 3}, r"method\.top_k=4 is larger than method\.num_adapters=3"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        xpeft(**fields)
