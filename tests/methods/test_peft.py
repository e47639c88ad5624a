"""The tuners of ``peft``: against ``peft`` itself, against dense algebra, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import peft
import pytest
import torch
from peft import PeftConfig, PeftType, TaskType, get_peft_model
from torch import Tensor
from torch.nn import functional

from gluelamp.errors import InputError
from gluelamp.experiments.config import parse
from gluelamp.methods.peft import TYPES, Peft
from gluelamp.methods.storage import content_hash, count_bytes, count_parameters
from gluelamp.training.precision import MasterWeights
from methods.cases import GetMethod, labels
from methods.rows import ROWS
from methods.test_wiring import randomised
from tiny_models import HIDDEN, LAYERS, batch, logits, tiny

PLACES = [
    f"bert.encoder.layer.{layer}.attention.self.{part}"
    for layer in range(LAYERS)
    for part in ("query", "value")
]
THEIRS: list[tuple[str, Mapping[str, Any], PeftConfig]] = [
    ("DORA", {"r": 2}, peft.LoraConfig(r=2, use_dora=True)),
    ("LORA", {"r": 2, "lora_bias": True}, peft.LoraConfig(r=2, lora_bias=True)),
    ("VERA", {"r": 4}, peft.VeraConfig(r=4)),
    ("RANDLORA", {"r": 4}, peft.RandLoraConfig(r=4)),
    ("OFT", {"oft_block_size": 8}, peft.OFTConfig(oft_block_size=8)),
    ("BOFT", {"boft_block_size": 4}, peft.BOFTConfig(boft_block_size=4)),
    ("HRA", {"r": 4}, peft.HRAConfig(r=4)),
    ("SHIRA", {"r": 2, "random_seed": 3}, peft.ShiraConfig(r=2, random_seed=3)),
    ("C3A", {"block_size": 8}, peft.C3AConfig(block_size=8)),
    ("FOURIERFT", {"n_frequency": 50}, peft.FourierFTConfig(n_frequency=50)),
    ("LOHA", {"r": 2}, peft.LoHaConfig(r=2)),
    ("LOKR", {"r": 2}, peft.LoKrConfig(r=2)),
    ("MISS", {"r": 4}, peft.MissConfig(r=4)),
    ("ROAD", {"group_size": 8}, peft.RoadConfig(group_size=8)),
]
ours_and_theirs = pytest.mark.parametrize(("kind", "options", "config"), THEIRS, ids=[t[0] for t in THEIRS])


def tuner(kind: str, options: Mapping[str, Any] | None = None) -> Peft:
    values = {"type": kind, "options": options}
    return parse(Peft, values, "method")


def placed(config: PeftConfig, **fields: Any) -> PeftConfig:
    return replace(config, target_modules=["attention.self.query", "attention.self.value"], **fields)


def gradients(model: torch.nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    loss = functional.cross_entropy(model.eval()(**batch()).logits, labels())
    return dict(zip(values, torch.autograd.grad(loss, list(values.values())), strict=True))


@ours_and_theirs
def test_outputs_and_gradients_are_those_of_peft(
    kind: str, options: Mapping[str, Any], config: PeftConfig
) -> None:
    bare = tiny("bert").double()
    ours = randomised(tuner(kind, options).adapt(copy.deepcopy(bare)))
    theirs = get_peft_model(bare, placed(config))
    found = {
        name.removeprefix("base_model.model."): value
        for name, value in theirs.named_parameters()
        if value.requires_grad
    }
    assert found.keys() == ours.trainable.keys()
    for name, value in found.items():
        value.data = ours.trainable[name].data.clone()
    assert torch.equal(logits(ours.model), logits(theirs))
    expected = gradients(theirs, found)
    assert any(gradient.abs().max() > 1e-6 for gradient in expected.values())
    for name, gradient in gradients(ours.model, ours.trainable).items():
        assert torch.equal(gradient, expected[name]), name


@ours_and_theirs
def test_the_count_is_that_of_peft_without_the_head(
    kind: str, options: Mapping[str, Any], config: PeftConfig
) -> None:
    with_head = placed(config, task_type=TaskType.SEQ_CLS)
    theirs, _ = get_peft_model(tiny("bert"), with_head).get_nb_trainable_parameters()
    # peft trains the classifier and leaves the pooler frozen
    counted = count_parameters(tuner(kind, options).adapt(tiny("bert", "linear")))
    assert counted["trained"] == theirs - counted["head"]


def dora(weight: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Return m (W + s B A) / |W + s B A|, the norm over each row; s = 8 / r by the default of peft."""
    total = weight + 8 / 2 * values["lora_B.default.weight"] @ values["lora_A.default.weight"]
    return values["lora_magnitude_vector.default.weight"][:, None] * total / total.norm(dim=1, keepdim=True)


def vera(weight: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Return W + diag(b) B diag(d) A."""
    b, d = values["vera_lambda_b.default"], values["vera_lambda_d.default"]
    return weight + torch.diag(b) @ values["vera_B.default"] @ torch.diag(d) @ values["vera_A.default"]


def hra(weight: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Return W H_1 ... H_r with the reflections H_i = I - 2 u_i u_i' / |u_i|^2."""
    for u in values["hra_u.default"].T:
        weight = weight @ (torch.eye(HIDDEN).double() - 2 * torch.outer(u, u) / u.dot(u))
    return weight


@pytest.mark.parametrize(
    ("kind", "options", "formula"),
    [("DORA", {"r": 2}, dora), ("VERA", {"r": 4}, vera), ("HRA", {"r": 4}, hra)],
    ids=["DORA", "VERA", "HRA"],
)
def test_the_merged_weight_is_the_papers(kind: str, options: Mapping[str, Any], formula: Any) -> None:
    bare = tiny("bert").double()
    adaptation = randomised(tuner(kind, options).adapt(copy.deepcopy(bare)))
    shared = {name.rpartition(".vera_")[2]: v.double() for name, v in adaptation.shared_state().items()}
    frozen = {f"vera_{name}": value for name, value in shared.items()}
    values = {name: value.detach() for name, value in adaptation.trainable.items()}
    expected = {
        place: formula(
            bare.get_submodule(place).weight.detach(),
            frozen | {n.removeprefix(f"{place}."): v for n, v in values.items() if n.startswith(place)},
        )
        for place in PLACES
    }
    merged = adaptation.merge()
    for place, weight in expected.items():
        torch.testing.assert_close(merged.get_submodule(place).weight.data, weight, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        ("VERA", {"r": 4}, "projection_prng_key"),
        ("RANDLORA", {"r": 4}, "projection_prng_key"),
        ("SHIRA", {"r": 2}, "random_seed"),
        ("FOURIERFT", {"n_frequency": 50}, "random_loc_seed"),
    ],
    ids=["VERA", "RANDLORA", "SHIRA", "FOURIERFT"],
)
def test_what_tasks_share_depends_on_its_own_seed_alone(
    kind: str, options: Mapping[str, Any], key: str
) -> None:
    def shared(seed: int, **more: int) -> str:
        torch.manual_seed(seed)
        return content_hash(tuner(kind, {**options, **more}).adapt(tiny("bert")).shared_state())

    assert shared(1) == shared(2) != shared(1, **{key: 5})


def test_veras_random_matrices_are_stored_once_for_all_layers_and_tasks() -> None:
    adaptation = tuner("VERA", {"r": 4}).adapt(tiny("bert"))
    counted = count_bytes(adaptation)
    assert counted["shared"] == 4 * (4 * HIDDEN + HIDDEN * 4)
    assert counted["method"] == 4 * 2 * LAYERS * (4 + HIDDEN)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("DORA", {"r": 2}),
        ("OFT", {"oft_block_size": 8, "use_cayley_neumann": False}),
        ("BOFT", {"boft_block_size": 4}),
        ("SHIRA", {"r": 2}),
        ("C3A", {"block_size": 8}),
        ("FOURIERFT", {"n_frequency": 50}),
        ("DEFT", {"r": 4, "decomposition_method": "qr"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pass_in_bf16_gives_every_master_a_gradient(kind: str, options: Mapping[str, Any]) -> None:
    adaptation = tuner(kind, options).adapt(tiny("bert"))
    in_fp32 = logits(adaptation.model)
    trained = [*adaptation.trainable.values(), *adaptation.head.values()]
    weights = MasterWeights(adaptation.model, trained, torch.bfloat16)
    weights.sync()
    assert {value.dtype for value in adaptation.trainable.values()} == {torch.bfloat16}
    outputs = adaptation.model(**batch()).logits
    assert (outputs - in_fp32).norm() < 0.05 * in_fp32.norm()  # bf16 has 8 bits: a dozen steps of 0.4 %
    functional.cross_entropy(outputs.float(), labels()).backward()
    weights.gather_gradients()
    assert all(master.grad is not None and master.grad.dtype == torch.float32 for master in weights.masters)


def test_every_type_of_peft_has_a_row_or_a_reason_to_be_refused() -> None:
    rows = {
        override.removeprefix("type=") for row in ROWS if row.config == "peft" for override in row.overrides
    }
    assert rows >= set(TYPES)
    for kind in PeftType:
        if kind.value not in TYPES:
            with pytest.raises(
                InputError, match=rf"^method\.type={kind.value} is not supported: .* VERA, WAVEFT\.$"
            ):
                tuner(kind.value)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("DOLA", None, r"^method\.type 'DOLA' is unknown; did you mean 'DORA'\? Known: BOFT, .*WAVEFT\.$"),
        ("VERA", {"vera_drop": 0.1}, r"'vera_drop' is unknown; did you mean 'vera_dropout'\? Known: "),
        ("VERA", {"inference_mode": True}, r"option 'inference_mode' is unknown"),
        ("VERA", {"target_modules": ["query"]}, r"is not allowed: method\.targets sets the target layers"),
        ("LORA", {"bias": "all"}, r"bias='all' is not allowed: the head is always trained, "),
        ("VERA", {"save_projection": False}, r"this suite defines what a task stores\. Leave it out\.$"),
        ("OFT", {"coft": True}, "a forward pass would overwrite trained values"),
        ("LORA", {"init_lora_weights": "eva"}, "init_lora_weights='eva' is not allowed: it needs data"),
        ("BOFT", {"boft_n_butterfly_factor": 2}, "peft always takes 1"),
        ("HRA", {"apply_GS": True}, "divides zero by zero"),
        ("OFT", {"r": 4}, r"do not suit method\.type=OFT: You can only specify either r"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_a_wrong_type_or_option_is_refused_before_there_is_a_model(
    kind: str, options: Mapping[str, Any] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tuner(kind, options)


def test_the_config_takes_a_type_and_options_on_the_command_line(method: GetMethod) -> None:
    made = method("peft", "type=OFT", "options={r:4,oft_block_size:0}")
    trained = made.adapt(tiny("bert")).trainable
    assert {value.shape for value in trained.values()} == {(4, 28)}  # 4 blocks of 8 x 8, skew-symmetric


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("LORA", {"r": 0}, "'r': 0.* do not suit method.type=LORA: `r` should be a positive integer"),
        ("LORA", {"r": "many"}, "do not suit method.type=LORA: '<=' not supported"),
        ("ROAD", {"group_size": 6}, r"must be divisible by group_size \(6\)"),
        ("LORA", {"init_lora_weights": "pissa"}, "The tuner overwrites the backbone's own weights"),
        ("LORA", {"init_lora_weights": "olora"}, "The tuner overwrites the backbone's own weights"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_does_not_suit_the_backbone_is_refused_when_it_is_adapted_or_counted(
    kind: str, options: Mapping[str, Any], message: str, device: str
) -> None:
    with torch.device(device), pytest.raises(InputError, match=message):
        tuner(kind, options).adapt(tiny("bert").to(device))


def test_a_merge_that_the_tuner_cannot_do_is_refused() -> None:
    # ModernBERT's layers have no bias into which this option's could go
    method = replace(tuner("LORA", {"r": 2, "lora_bias": True}), targets=("attention_output",))
    adaptation = method.adapt(tiny("modernbert"))
    with pytest.raises(InputError, match=r"cannot be merged: .*bias"):
        adaptation.merge()
