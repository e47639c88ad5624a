"""When X-PEFT sums its adapter: once for all passes without gradients, and in every other pass."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.flop_counter import FlopCounterMode

from gluelamp.methods.pfeiffer import Pfeiffer
from gluelamp.methods.xpeft import XPeft, selected_adapters
from gluelamp.methods.xpeft_bank import Bank
from gluelamp.methods.xpeft_modules import Mask, SelectedAdapter
from gluelamp.training.precision import MasterWeights
from methods.cases import adapt, snapshot, train
from tiny_models import batch, logits, tiny

N, K, WIDTH, INNER, PROFILES = 10, 4, 6, 3, 3


def xpeft(**fields: object) -> XPeft:
    return XPeft(**({"num_adapters": N, "top_k": K} | fields))


def randomised(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def selected(method: XPeft, seed: int = 0) -> SelectedAdapter:
    bank = Bank(
        randomised(N, INNER, WIDTH),
        randomised(N, WIDTH, INNER, seed=1),
        randomised(N, INNER),
        randomised(N, WIDTH),
    )
    adapter = method.adapter_over(bank).double().eval()
    with torch.no_grad():
        for number, value in enumerate(adapter.parameters()):
            value.copy_(randomised(*value.shape, seed=seed + number))
    return adapter


@pytest.fixture
def formed(monkeypatch: pytest.MonkeyPatch) -> list[Mask]:
    """The masks that were computed, in order."""
    computed, forward = [], Mask.forward

    def counted(mask: Mask) -> Tensor:
        computed.append(mask)
        return forward(mask)

    monkeypatch.setattr(Mask, "forward", counted)
    return computed


def flops(model: nn.Module) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**batch())
    return counter.get_total_flops()


@pytest.mark.parametrize("mask", ["soft", "hard"])
@pytest.mark.parametrize("banks", ["separate", "shared"])
def test_from_the_second_pass_on_it_costs_what_one_adapter_costs(mask: str, banks: str) -> None:
    single = Pfeiffer().adapt(tiny("bert")).model.eval()
    masked = xpeft(mask=mask, banks=banks).adapt(tiny("bert")).model.eval()
    assert flops(masked) > flops(single)
    assert flops(masked) == flops(single)


def test_the_cached_adapter_gives_the_same_bits(formed: list[Mask]) -> None:
    model = adapt(xpeft(), tiny("bert"), 0).model
    first = logits(model)
    count = len(formed)
    assert torch.equal(logits(model), first)
    assert len(formed) == count == 4  # two masks a block
    with torch.enable_grad():
        assert torch.equal(model(**batch()).logits, first)
    assert len(formed) == 2 * count


def write(adapter: SelectedAdapter) -> None:
    with torch.no_grad():
        adapter.mask_up.logits.neg_()


def replace_data(adapter: SelectedAdapter) -> None:
    adapter.mask_up.logits.data = -adapter.mask_up.logits.data


def replace_parameter(adapter: SelectedAdapter) -> None:
    adapter.mask_up.logits = nn.Parameter(-adapter.mask_up.logits.detach())


def load(adapter: SelectedAdapter) -> None:
    adapter.mask_up.load(1 - adapter.mask_up.stored())


def step(fused: bool) -> Callable[[SelectedAdapter], None]:
    def stepped(adapter: SelectedAdapter) -> None:
        adapter(randomised(2, WIDTH)).square().sum().backward()
        torch.optim.AdamW(adapter.parameters(), lr=10.0, fused=fused).step()

    return stepped


CHANGES = {
    "a write": write,
    "other data": replace_data,
    "another parameter": replace_parameter,
    "a loaded mask": load,
    "a step": step(fused=False),
    "a fused step": step(fused=True),  # torch does not count it as a version
    "precision": lambda adapter: adapter.float(),
    "precision of the bank": lambda adapter: setattr(adapter, "bank_down", -adapter.bank_down),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_after_a_change_the_adapter_is_formed_anew(change: Callable[[SelectedAdapter], None]) -> None:
    adapter, hidden = selected(xpeft(mask="soft")), randomised(2, WIDTH)
    with torch.no_grad():
        before = adapter(hidden)
        assert torch.equal(adapter(hidden), before)
    change(adapter)
    hidden = hidden.to(adapter.bank_down.dtype)
    expected = adapter(hidden).detach()  # with gradients, and so summed again
    fresh = copy.deepcopy(adapter)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(adapter(hidden), expected)
            assert torch.equal(fresh(hidden), expected)
    assert not torch.equal(expected, before)


@pytest.mark.parametrize(
    "change", [write, replace_data, load], ids=["a write", "other data", "a loaded mask"]
)
def test_a_change_is_seen_without_a_pass_that_may_learn(change: Callable[[SelectedAdapter], None]) -> None:
    adapter, hidden = selected(xpeft(mask="soft")), randomised(2, WIDTH)
    with torch.no_grad():
        before = adapter(hidden)
        change(adapter)
        after = adapter(hidden)
    assert not torch.equal(after, before)
    assert torch.equal(after, adapter(hidden).detach())


def test_each_task_gets_its_own_outputs_after_a_swap_without_gradients() -> None:
    adaptation = adapt(xpeft(), tiny("bert"), 0)
    tasks = []
    for seed in (0, 1):
        train(adaptation, seed)
        tasks.append((snapshot(adaptation), logits(adaptation.model)))
    for state, outputs in [*tasks, *tasks]:
        adaptation.load_task_state(state)
        assert torch.equal(logits(adaptation.model), outputs)
        assert torch.equal(logits(adaptation.model), outputs)
    assert not torch.equal(tasks[0][1], tasks[1][1])


def test_an_evaluation_in_fp32_is_not_taken_for_one_in_bf16() -> None:
    adaptation, fresh = (adapt(xpeft(), tiny("bert"), 0) for _ in range(2))
    logits(adaptation.model)
    for one in (adaptation, fresh):
        MasterWeights(one.model, one.trainable.values(), torch.bfloat16)
    assert torch.equal(logits(adaptation.model), logits(fresh.model))
    assert logits(adaptation.model).dtype == logits(fresh.model).dtype


def test_values_from_outside_are_never_cached() -> None:
    adapter, hidden = selected(xpeft(mask="soft")), randomised(2, WIDTH)
    with torch.no_grad():
        own = adapter(hidden)
        for scale in (0.5, 2.0, 0.5):  # each may lie where the one before lay
            values = {name: scale * value for name, value in adapter.named_parameters()}
            expected = selected(xpeft(mask="soft"))
            for name, value in expected.named_parameters():
                value.copy_(values[name])
            assert torch.equal(functional_call(adapter, values, (hidden,)), expected(hidden))
        assert torch.equal(adapter(hidden), own)


def test_inference_mode_serves_and_can_be_left_again() -> None:
    with torch.inference_mode():
        adapter, hidden = selected(xpeft()), randomised(2, WIDTH)
        served = adapter(hidden)
        assert torch.equal(adapter(hidden), served)
    other, hidden = selected(xpeft()), randomised(2, WIDTH)
    with torch.inference_mode():
        assert torch.equal(other(hidden), served)
    other(hidden).sum().backward()


VARIANTS = {
    "soft": xpeft(mask="soft"),
    "hard": xpeft(),
    "sum": xpeft(normalise_hard="none"),
    "inner norm": xpeft(inner_layer_norm=True),
    "shared": xpeft(mask="soft", banks="shared"),
}


@pytest.mark.parametrize("method", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("training", [True, False])
def test_profiles_at_once_are_each_profile_alone(method: XPeft, training: bool) -> None:
    """Values and gradients of vmap over stacked masks, against one call for each profile."""
    adapters = [selected(method, seed=10 * profile).train(training) for profile in range(PROFILES)]
    hidden = randomised(PROFILES, 2, 5, WIDTH)
    stacked = {
        name: torch.stack([one.get_parameter(name).detach() for one in adapters])
        for name, _ in adapters[0].named_parameters()
    }
    together = selected(method).train(training)

    def loss(values: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        out = functional_call(together, values, (rows,))
        return out.square().sum(), out

    gradients, outputs = vmap(grad(loss, has_aux=True), randomness="different")(stacked, hidden)
    with torch.no_grad():
        evaluated = vmap(lambda values, rows: functional_call(together, values, (rows,)))(stacked, hidden)
    for profile, one in enumerate(adapters):
        alone = one(hidden[profile])
        alone.square().sum().backward()
        torch.testing.assert_close(outputs[profile], alone.detach(), atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(evaluated[profile], alone.detach(), atol=1e-12, rtol=1e-12)
        for name, value in one.named_parameters():
            assert value.grad is not None
            torch.testing.assert_close(gradients[name][profile], value.grad, atol=1e-10, rtol=1e-10)


def test_profiles_at_once_sample_noise_of_their_own() -> None:
    method = xpeft(gumbel_tau=1.0)
    adapter = selected(method).train()
    mask = adapter.mask_down
    torch.manual_seed(0)
    stacked = {"logits": torch.zeros(20, N, dtype=torch.float64)}
    weights = vmap(lambda values: functional_call(mask, values, ()), randomness="different")(stacked)
    assert (weights.round(decimals=6) > 0).sum(1).tolist() == [K] * 20
    assert len(weights.detach().round(decimals=6).unique(dim=0)) > 1


def test_every_trained_value_stands_below_the_selected_adapter() -> None:
    adaptation = adapt(xpeft(inner_layer_norm=True), tiny("bert"), 0)
    below = {id(value) for change in selected_adapters(adaptation) for value in change.adapter.parameters()}
    assert below == {id(value) for value in adaptation.trainable.values()}
