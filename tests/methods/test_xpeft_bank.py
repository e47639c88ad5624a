"""X-PEFT's banks: random ones with a seed specification, and the trained adapters of other profiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.experiments.config import parse_run
from gluelamp.experiments.plan import plan_run
from gluelamp.methods.pfeiffer import Pfeiffer
from gluelamp.methods.storage import (
    count_bytes,
    load_task_state,
    provenance,
    save_task_state,
    write_shared_state,
)
from gluelamp.methods.xpeft import XPeft, selected_adapters
from gluelamp.methods.xpeft_bank import random_banks
from gluelamp.profiles import ProfileStore
from methods.cases import adapt, snapshot, train
from tiny_models import HIDDEN, LAYERS, logits, tiny

N, K, INNER, BACKBONE = 5, 2, HIDDEN // 16, "a" * 64
PLACES = [f"bert.encoder.layer.{block}.output.LayerNorm.adapter" for block in range(LAYERS)]

STD = math.sqrt(0.3 * K / math.sqrt(HIDDEN * INNER / 2))

MakeStore = Callable[..., Path]


def xpeft(**fields: object) -> XPeft:
    options = {"num_adapters": None, "top_k": K} | fields
    return XPeft(**options)


def random_xpeft(**fields: object) -> XPeft:
    return xpeft(**({"num_adapters": 10} | fields))


@cache
def profiles(architecture: str = "bert", reduction_factor: int = 16) -> Sequence[dict[str, Tensor]]:
    """Trained states of N profiles, with biases that are not zero."""
    pfeiffer = Pfeiffer(reduction_factor=reduction_factor, init_std=0.2)
    states = []
    for seed in range(N):
        adaptation = adapt(pfeiffer, tiny(architecture), seed)
        train(adaptation, seed, steps=2)
        states.append(snapshot(adaptation))
    return tuple(states)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(states: Sequence[dict[str, Tensor]], name: str = "bank", backbone: str = BACKBONE) -> Path:
        origin, path = {"backbone": backbone, "shared": ""}, tmp_path / name
        store = ProfileStore.create(path, states[0], provenance=origin, method={"name": "pfeiffer"})
        ids = [f"profile-{9 - number}" for number in range(len(states))]  # not in their sorted order
        store.append(ids, {key: torch.stack([state[key] for state in states]) for key in states[0]})
        return path

    return make


def test_one_seed_is_one_bank_for_every_task_and_each_block_has_its_own() -> None:
    first, second, other = (
        [change.adapter.bank_down for change in selected_adapters(adapt(method, tiny("bert"), seed))]
        for method, seed in ((random_xpeft(), 0), (random_xpeft(), 1), (random_xpeft(bank_seed=1), 0))
    )
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def test_a_random_bank_is_normal_down_then_up_block_by_block() -> None:
    generator = torch.Generator().manual_seed(7)
    for change in selected_adapters(adapt(random_xpeft(bank_seed=7), tiny("bert"), 0)):
        for bank in (change.adapter.bank_down, change.adapter.bank_up):
            assert bank is not None
            assert torch.equal(bank, STD * torch.randn(bank.shape, generator=generator))


@pytest.mark.parametrize(
    "fields", [{"mask": "soft"}, {"top_k": 3}, {"top_k": 3, "normalise_hard": "none"}], ids=str
)
def test_the_first_update_of_a_random_bank_has_the_size_of_the_gain(fields: dict[str, object]) -> None:
    torch.manual_seed(1)  # not the bank's seed: hidden states must not be its adapters
    method = random_xpeft(bank_gain=0.4, **fields)
    shape = (10, 64, 512)
    std = method.bank_std(64, 512)
    (bank,) = random_banks(0, std, shape, 1, False, torch.device("cpu"))
    hidden = torch.randn(200, 512)
    update = method.adapter_over(bank)(hidden)
    assert (update.square().mean() / hidden.square().mean()).sqrt().item() == pytest.approx(0.4, rel=0.1)


def test_a_random_bank_is_stored_as_a_few_numbers(tmp_path: Path) -> None:
    adaptation = adapt(random_xpeft(), tiny("bert"), 0)
    shared = adaptation.shared_state()
    assert shared["bank.seed"].item() == 0
    assert shared["bank.std"].item() == STD
    assert shared["bank.shape"].tolist() == [2, 10, INNER, HIDDEN]
    assert count_bytes(adaptation)["shared"] == 8 + 8 + 4 * 8 + 4 * 2
    write_shared_state(tmp_path, adaptation, provenance(adaptation, BACKBONE))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"bank_seed": 1},
        {"bank_gain": 0.2},
        {"num_adapters": 9},  # as many bytes of masks as 10
        {"reduction_factor": 8},
        {"banks": "shared"},
    ],
)
def test_masks_of_another_bank_are_refused(fields: dict[str, object], tmp_path: Path) -> None:
    ours = adapt(random_xpeft(), tiny("bert"), 0)
    save_task_state(tmp_path / "task", ours, provenance(ours, BACKBONE))
    other = adapt(random_xpeft(**fields), tiny("bert"), 0)
    with pytest.raises(InputError, match="was trained with another mask or bank of adapters"):
        load_task_state(tmp_path / "task", other, provenance(other, BACKBONE))


def test_other_random_numbers_of_torch_change_the_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    before = provenance(adapt(random_xpeft(), tiny("bert"), 0), BACKBONE)
    sample = Tensor.normal_
    monkeypatch.setattr(Tensor, "normal_", lambda value, *args, **more: sample(value, *args, **more).flip(-1))
    assert provenance(adapt(random_xpeft(), tiny("bert"), 0), BACKBONE) != before


def test_a_shared_pool_halves_the_bank_in_memory() -> None:
    separate, shared = (adapt(random_xpeft(banks=banks), tiny("bert"), 0) for banks in ("separate", "shared"))
    sizes = [sum(b.numel() for b in one.model.buffers() if b.dim() == 3) for one in (separate, shared)]
    assert sizes == [LAYERS * 2 * 10 * INNER * HIDDEN, LAYERS * 10 * INNER * HIDDEN]
    assert sum(value.numel() for value in shared.trainable.values()) == LAYERS * 2 * 10


@pytest.mark.parametrize("biases", ["same_weights", "drop"])
def test_a_trained_bank_holds_the_profiles_adapters_in_the_stores_order(
    make_store: MakeStore, biases: str
) -> None:
    states = profiles()
    adaptation = adapt(xpeft(bank=str(make_store(states)), bank_biases=biases), tiny("bert"), 0)
    shared = adaptation.shared_state()
    of_bank = {"down.weight": "down", "up.weight": "up", "down.bias": "down_bias", "up.bias": "up_bias"}
    expected = {
        f"{place}.bank_{ours}": torch.stack([state[f"{place}.{theirs}"] for state in states])
        for place in PLACES
        for theirs, ours in of_bank.items()
        if biases == "same_weights" or "bias" not in theirs
    }
    assert shared.keys() == expected.keys()
    assert all(torch.equal(shared[name], value) for name, value in expected.items())
    assert {value.dtype for value in shared.values()} == {torch.float32}
    assert all(value.abs().max() > 0 for value in shared.values())


@pytest.mark.parametrize("chosen", [0, N - 1])
def test_a_hard_mask_of_one_trained_adapter_gives_that_profiles_outputs(
    make_store: MakeStore, chosen: int
) -> None:
    states = profiles()
    adaptation = adapt(xpeft(bank=str(make_store(states)), top_k=1), tiny("bert"), 0)
    with torch.no_grad():
        for value in adaptation.trainable.values():
            value.copy_(torch.nn.functional.one_hot(torch.tensor(chosen), N))
        for name, value in adaptation.head.items():
            value.copy_(states[chosen][name])
    own = adapt(Pfeiffer(), tiny("bert"), 1, state=states[chosen])
    torch.testing.assert_close(logits(adaptation.model), logits(own.model), atol=1e-6, rtol=0)


def test_a_trained_bank_is_stored_once_and_binds_the_masks(make_store: MakeStore, tmp_path: Path) -> None:
    states = profiles()
    banks = make_store(states), make_store(states[::-1], "other")
    ours, other = (adapt(xpeft(bank=str(bank)), tiny("bert"), 0) for bank in banks)
    origin = provenance(ours, BACKBONE)
    write_shared_state(tmp_path / "shared", ours, origin)
    assert [path.stem for path in (tmp_path / "shared").iterdir()] == [origin["shared"]]
    assert count_bytes(ours)["shared"] == 4 * N * LAYERS * (2 * INNER * HIDDEN + INNER + HIDDEN)
    assert count_bytes(ours)["method"] == LAYERS * 2
    save_task_state(tmp_path / "task", ours, origin)
    with pytest.raises(InputError, match="was trained with another mask or bank of adapters"):
        load_task_state(tmp_path / "task", other, provenance(other, BACKBONE))
    again = adapt(xpeft(bank=str(banks[0])), tiny("bert"), 1)
    load_task_state(tmp_path / "task", again, provenance(again, BACKBONE))
    assert torch.equal(logits(again.model), logits(ours.model))


def test_a_trained_bank_is_counted_on_the_meta_device(make_store: MakeStore) -> None:
    method = xpeft(bank=str(make_store(profiles())))
    with torch.device("meta"):
        shell = method.adapt(tiny("bert").to("meta"))
    assert count_bytes(shell) == count_bytes(adapt(method, tiny("bert"), 0))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_adapters": 4}, r"holds 5 profiles, but method\.num_adapters=4\. Allowed: null.* or 5\."),
        ({"num_adapters": 100, "top_k": 50}, r"holds 5 profiles, but method\.num_adapters=100\."),
        ({"top_k": 6}, r"method\.top_k=6 is larger than method\.num_adapters=5; a hard mask .* exist\.$"),
        ({"reduction_factor": 8}, r"hidden size 32 and bottleneck 2; .* need 32 and 4\. Take"),
    ],
)
def test_a_bank_that_does_not_fit_the_fields_is_refused(
    make_store: MakeStore, fields: dict[str, object], sentence: str
) -> None:
    method, model = xpeft(bank=str(make_store(profiles())), **fields), tiny("bert")
    with pytest.raises(InputError, match=sentence):
        method.adapt(model)
    assert torch.equal(logits(model), logits(tiny("bert")))


def test_a_bank_of_another_architecture_or_method_is_refused(make_store: MakeStore) -> None:
    other = make_store(profiles("roberta"), "other")
    with pytest.raises(InputError, match="does not hold one Pfeiffer adapter for each block"):
        xpeft(bank=str(other)).adapt(tiny("bert"))
    masks = make_store([snapshot(adapt(random_xpeft(), tiny("bert"), seed)) for seed in range(2)])
    with pytest.raises(InputError, match="it holds 0, 2 are needed"):
        xpeft(bank=str(masks)).adapt(tiny("bert"))


def test_a_bank_without_profiles_is_refused(tmp_path: Path) -> None:
    origin, path = {"backbone": BACKBONE, "shared": ""}, tmp_path / "bank"
    ProfileStore.create(path, profiles()[0], provenance=origin, method={})
    with pytest.raises(InputError, match=r"holds no profile\. Take a store with trained profiles\."):
        xpeft(bank=str(path)).adapt(tiny("bert"))


def test_a_damaged_bank_is_refused_rather_than_taken_for_a_smaller_one(make_store: MakeStore) -> None:
    states = profiles()
    path = make_store(states)
    content = path.read_bytes()
    written = next(value.numpy().tobytes()[:64] for key, value in states[-1].items() if "down.weight" in key)
    path.write_bytes(content.replace(written, bytes(64)))
    with pytest.raises(InputError, match=r"is damaged: .* Copy the file again\."):
        xpeft(bank=str(path)).adapt(tiny("bert"))


def test_a_bank_that_is_not_there_is_refused(tmp_path: Path) -> None:
    method = xpeft(bank=str(tmp_path / "none"))
    for attempt in (lambda: method.adapt(tiny("bert")), lambda: method.resolve(BACKBONE)):
        with pytest.raises(InputError, match="it matches no file"):
            attempt()


def test_a_bank_of_another_backbone_is_refused_before_training(
    make_store: MakeStore, compose: Callable[..., dict[str, object]], tiny_backbone: Path
) -> None:
    bank = make_store(profiles())
    warm = ("method=xpeft", "method.num_adapters=null", f"method.bank={bank}", "data=sample")
    raw = compose("backbone=tiny", f"backbone.path={tiny_backbone}", *warm)
    with pytest.raises(InputError, match=r"was trained on another backbone: its checksum there is aaa.*Take"):
        plan_run(parse_run(raw))


def test_a_run_on_the_banks_own_backbone_has_its_checksum_for_a_path(
    make_store: MakeStore, compose: Callable[..., dict[str, object]], tiny_backbone: Path
) -> None:
    here = ("backbone=tiny", f"backbone.path={tiny_backbone}", "data=sample", "method=xpeft")
    checksum = plan_run(parse_run(compose(*here))).checkpoint.checksum
    bank = make_store(profiles(), backbone=checksum)
    plan = plan_run(parse_run(compose(*here, "method.num_adapters=null", f"method.bank={bank}")))
    shown = plan.effective["method"]["bank"]
    assert shown == xpeft(bank=str(bank)).resolve(checksum)["bank"] != str(bank)


def test_a_runs_identity_depends_on_the_banks_content_not_on_its_path(make_store: MakeStore) -> None:
    states = profiles()
    banks = make_store(states), make_store(states, "copy"), make_store(states[:3], "fewer")
    first, copy, fewer = (xpeft(bank=str(bank)).resolve(BACKBONE) for bank in banks)
    assert first == copy != fewer
    assert first.keys() == {"bank"}
    assert random_xpeft().resolve(BACKBONE) == {}


def test_a_pattern_names_one_store_or_none(make_store: MakeStore, tmp_path: Path) -> None:
    bank = Path(make_store(profiles()))
    pattern = str(tmp_path / "runs" / "*" / "last.profiles")
    for number, run in enumerate(("one", "other")):
        place = tmp_path / "runs" / run / "last.profiles"
        place.parent.mkdir(parents=True)
        place.write_bytes(bank.read_bytes())
        if number == 0:
            assert xpeft(bank=pattern).resolve(BACKBONE) == xpeft(bank=str(bank)).resolve(BACKBONE)
    with pytest.raises(InputError, match=r"is not one profile store: .*one.*, .*other"):
        xpeft(bank=pattern).resolve(BACKBONE)
