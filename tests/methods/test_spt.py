"""SPT's modules against dense weights, its sizes, and what a mixed allocation stores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gluelamp.backbones.anatomy import anatomy
from gluelamp.backbones.dropout import install_dropout
from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.errors import InputError
from gluelamp.methods.base import Adaptation, Selection
from gluelamp.methods.phases import adapt_untrained, run_phases
from gluelamp.methods.spt import DropPath, Spt
from gluelamp.methods.storage import load_task_state, read_selection, save_task_state
from methods.cases import GetMethod, learn, outline
from methods.test_wiring import gelu, randomised
from tiny_models import HIDDEN, logits, same_bits, tiny


def spt(structure: str, **fields: object) -> Spt:
    return Spt(structure=structure, **{"rank": 2, "density": 0.1, **fields})


def mixed(method: Spt) -> tuple[Adaptation, Selection]:
    """Return an adaptation in float64 with modules, whole vectors and single entries, none of them zero."""
    selection = run_phases(method, tiny("bert"), learn)
    adaptation = randomised(method.adapt(tiny("bert").double(), selection=selection))
    kinds = {name.rpartition(".")[2] for name in adaptation.trainable}
    assert {"delta", "values", "weight"} <= kinds
    return adaptation, selection


def dense(adaptation: Adaptation, selection: Selection) -> dict[str, np.ndarray]:
    """Return the tensors that an SPT-LoRA changes, as they should be."""
    bare = tiny("bert").double()
    trained = {name: value.detach().numpy() for name, value in adaptation.trainable.items()}
    tensors = {}
    for key, where in selection.tensors.items():
        name = key.removesuffix(".positions")
        tensor = bare.get_parameter(name).detach().numpy().copy()
        if len(where):
            tensor.flat[where.numpy()] += trained[f"{name}.delta"]
        elif tensor.ndim == 1:
            tensor = trained[f"{name}.values"]
        else:
            down, up = (trained[f"{name[: -len('weight')]}adapter.{way}.weight"] for way in ("down", "up"))
            tensor += up @ down
        tensors[name] = tensor
    return tensors


def test_spt_lora_is_a_change_of_the_weights_and_merges_into_them() -> None:
    adaptation, selection = mixed(spt("lora"))
    expected = tiny("bert").double()
    tensors = dense(adaptation, selection)
    for name, tensor in tensors.items():
        expected.get_parameter(name).data = torch.from_numpy(tensor)
    outputs = logits(adaptation.model)
    torch.testing.assert_close(outputs, logits(expected), atol=1e-12, rtol=0)
    assert not torch.allclose(outputs, logits(tiny("bert").double()), atol=1e-2)
    merged = adaptation.merge()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(merged.get_parameter(name).detach().numpy(), tensor, rtol=0, atol=1e-14)
    assert outline(merged) == outline(tiny("bert"))


@pytest.mark.parametrize("place", ["attention.self.value", "intermediate.dense"])
def test_spt_adapter_reads_and_joins_the_output_of_its_linear(place: str) -> None:
    # One module is closest to a budget that is too small for any.
    method = spt("adapter", density=0.003, alpha=1e6, exclude=rf"^(?!.*{place}\.weight)")
    adaptation = randomised(adapt_untrained(method, tiny("bert").double()))
    (path,) = {name.partition(".adapter.")[0] for name in adaptation.trainable}
    linear = adaptation.model.get_submodule(path)
    x = torch.randn(2, 5, HIDDEN, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = linear.eval()(x).numpy()
    values = {n.partition(".adapter.")[2]: v.detach().numpy() for n, v in adaptation.trainable.items()}
    before = x.numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    inner = gelu(before @ values["down.weight"].T + values["down.bias"])
    by_hand = before + inner @ values["up.weight"].T + values["up.bias"]
    np.testing.assert_allclose(output, by_hand, rtol=0, atol=1e-12)


def test_a_mixed_spt_adapter_refuses_to_merge_and_stays_as_it_is() -> None:
    adaptation, _ = mixed(spt("adapter"))
    before, outputs = outline(adaptation.model), logits(adaptation.model)
    with pytest.raises(InputError, match="cannot be merged"):
        adaptation.merge()
    assert outline(adaptation.model) == before
    assert torch.equal(logits(adaptation.model), outputs)


@pytest.mark.parametrize("structure", ["lora", "adapter"])
def test_a_mixed_allocation_comes_back_from_its_file_and_leaves_no_trace(
    structure: str, tmp_path: Path
) -> None:
    adaptation, _ = mixed(spt(structure))
    outputs, origin = logits(adaptation.model), {"backbone": "a", "shared": ""}
    save_task_state(tmp_path / "task.safetensors", adaptation, origin)
    other = spt(structure).adapt(
        tiny("bert").double(), selection=read_selection(tmp_path / "task.safetensors")
    )
    other.model.double()
    load_task_state(tmp_path / "task.safetensors", other, origin)
    assert torch.equal(logits(other.model), outputs)
    model, bare = other.detach(), tiny("bert").double()
    assert outline(model) == outline(bare)
    for name in anatomy(bare).encoder_parameters:
        assert same_bits(model.get_parameter(name), bare.get_parameter(name)), name


@pytest.mark.parametrize("other", ["distilbert", "roberta"])
def test_an_allocation_of_another_backbone_is_refused(other: str) -> None:
    _, selection = mixed(spt("lora"))
    with pytest.raises(InputError, match="trained on another backbone"):
        spt("lora").adapt(tiny(other), selection=selection)


def test_a_branch_that_is_not_of_low_rank_is_refused() -> None:
    with pytest.raises(InputError, match=r"method\.rank=33 is larger than 32"):
        adapt_untrained(spt("lora", rank=33), tiny("bert"))


def test_drop_path_drops_whole_examples_and_scales_the_others() -> None:
    drop = DropPath(0.25)
    install_dropout(drop, seed=0)
    update = torch.ones(2000, 3, 4)
    remaining = drop(update)
    factors = remaining[:, :1, :1]
    assert torch.equal(remaining, factors.expand_as(remaining))
    assert set(factors.flatten().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert 0.2 < (factors == 0).float().mean() < 0.3
    assert drop.eval()(update) is update


@pytest.fixture
def shell(compose: Callable[..., dict[str, Any]]) -> Callable[[str], Any]:
    """Return a backbone of the suite without values."""

    def build(name: str) -> Any:
        config = BackboneConfig(**compose(f"backbone={name}")["backbone"])
        with torch.device("meta"):
            return build_from_shape(config, 2, "eager")

    return build


@pytest.mark.parametrize(
    ("method_name", "backbone", "layers", "width", "printed"),
    [
        ("spt_lora", "roberta_large", 24, 1024, (16_384, 40_960, 3_858_432)),
        ("spt_adapter", "minilm", 6, 384, (6_536, 26_120, 382_752)),
    ],
)
def test_modules_have_the_published_sizes(
    method_name: str,
    backbone: str,
    layers: int,
    width: int,
    printed: tuple[int, int, int],
    method: GetMethod,
    shell: Callable[[str], Any],
) -> None:
    square, up, everything = printed
    model = shell(backbone)
    size = sum(model.get_parameter(name).numel() for name in anatomy(model).encoder_parameters)
    overrides = (f"density={everything / size}", "alpha=1e9", "beta=1e9")
    trained = adapt_untrained(method(method_name, *overrides), copy.deepcopy(model)).trainable
    by_place: dict[str, int] = {}
    for name, value in trained.items():
        place = name.partition(".adapter.")[0] if ".adapter." in name else "vectors"
        by_place[place] = by_place.get(place, 0) + value.numel()
    assert by_place.pop("vectors") == layers * (9 * width + 4 * width)
    down = up if method_name == "spt_lora" else square
    assert sorted(by_place.values()) == sorted(layers * [square, square, square, square, up, down])
    assert sum(value.numel() for value in trained.values()) == everything

    untrained = adapt_untrained(method(method_name), model).trainable
    assert abs(sum(value.numel() for value in untrained.values()) - round(0.005 * size)) <= up / 2
