"""Tensor trains against dense tensors in float64, and both forms of LoRETTA against their formulas."""

from __future__ import annotations

import copy
import math
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gluelamp.backbones.load import BackboneConfig
from gluelamp.measurement.base import MeasuredModel
from gluelamp.measurement.parameters import count_values
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.loretta import LorettaAdp, LorettaRep, TensorTrain, TensorTrainLinear, mode_sizes
from gluelamp.training.precision import MasterWeights
from methods.cases import GetMethod
from tiny_models import FFN, HIDDEN, batch, logits, same_bits, tiny

# rows, columns, mode sizes, values at rank 5, matrix rank: the released table, and its rule elsewhere
SHAPES = [
    (768, 64, (8, 8, 12, 8, 8), 780, 5),
    (64, 768, (8, 8, 12, 8, 8), 780, 5),
    (1024, 64, (4, 8, 8, 8, 8, 4), 840, 10),
    (64, 1024, (4, 8, 8, 8, 8, 4), 840, 10),
    (768, 8, (8, 8, 12, 8), 580, 5),
    (8, 768, (8, 8, 12, 8), 580, 5),
    (1024, 8, (4, 8, 8, 8, 4), 640, 8),
    (384, 64, (8, 8, 6, 8, 8), 630, 5),
    (64, 384, (8, 8, 6, 8, 8), 630, 5),
    (384, 8, (8, 8, 6, 8), 430, 5),
    (8, 384, (8, 6, 8, 8), 430, 5),
    (312, 16, (8, 3, 13, 16), 520, 5),
    (34, 1, (2, 17, 1), 440, 1),
    (1, 37, (1, 37), 190, 1),
]
every_shape = pytest.mark.parametrize(
    ("rows", "columns", "modes", "values", "rank"), SHAPES, ids=[f"{s[0]}x{s[1]}" for s in SHAPES]
)


def dense(cores: list[np.ndarray], rows: int) -> np.ndarray:
    """Return the matrix of a tensor train, by one sum over all bonds."""
    bonds, modes = string.ascii_uppercase, string.ascii_lowercase
    terms = ",".join(bonds[i] + modes[i] + bonds[i + 1] for i in range(len(cores)))
    tensor = np.einsum(f"{terms}->{modes[: len(cores)]}", *cores, optimize=True)
    return tensor.reshape(rows, -1)


def cores_of(values: dict[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    return [value for name, value in values.items() if name.startswith(f"{prefix}.matrix.cores.")]


def matrix_of(values: dict[str, np.ndarray], prefix: str, rows: int) -> np.ndarray:
    return dense(cores_of(values, prefix), rows)


def randomised(method: Method, model: nn.Module) -> Adaptation:
    """Adapt a float64 copy, with values of ordinary size."""
    adaptation = method.adapt(copy.deepcopy(model).double())
    generator = torch.Generator().manual_seed(0)
    for value in adaptation.trainable.values():
        value.data = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 2
    return adaptation


def values_at(adaptation: Adaptation, path: str) -> dict[str, np.ndarray]:
    start = f"{path}.adapter."
    trained = adaptation.trainable.items()
    return {n.removeprefix(start): v.detach().numpy() for n, v in trained if n.startswith(start)}


def hidden_states(width: int) -> torch.Tensor:
    return torch.randn(2, 5, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_shape
def test_a_tensor_train_is_its_dense_tensor(
    rows: int, columns: int, modes: tuple[int, ...], values: int, rank: int
) -> None:
    torch.manual_seed(0)
    train = TensorTrainLinear(rows, columns, rank=5, bias=True).double()
    cores = [core.detach().numpy() for core in train.matrix.cores]
    assert [core.shape[1] for core in cores] == list(modes)
    assert sum(core.size for core in cores) == values
    by_hand = dense(cores, rows)
    assert by_hand.shape == (rows, columns)
    assert np.linalg.matrix_rank(by_hand) == rank
    x = hidden_states(rows)
    with torch.no_grad():
        np.testing.assert_allclose(train.dense().numpy(), by_hand, rtol=1e-12, atol=1e-15)
        expected = x.numpy() @ by_hand + train.bias.numpy()
        np.testing.assert_allclose(train(x).numpy(), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("columns", [1, 5, 8, 16, 32, 64, 128])
def test_the_modes_of_every_size_give_that_size(columns: int) -> None:
    for rows in (1, 17, 97, 128, 256, 312, 384, 512, 768, 1024, 1280, 3072, 4096):
        modes, transposed = mode_sizes(rows, columns), mode_sizes(columns, rows)
        assert math.prod(modes) == math.prod(transposed) == rows * columns
        counts = {
            sum(math.prod(core.shape) for core in meta_cores(*s)) for s in [(rows, columns), (columns, rows)]
        }
        assert len(counts) == 1


def meta_cores(rows: int, columns: int) -> nn.ParameterList:
    with torch.device("meta"):
        return TensorTrain(rows, columns, rank=5).cores


def test_the_start_has_the_released_sizes() -> None:
    torch.manual_seed(0)
    trains = [TensorTrain(768, 64, rank=5) for _ in range(200)]
    for i, right in enumerate((5, 5, 5, 5, 1)):
        entries = torch.cat([train.cores[i].flatten() for train in trains])
        expected = (1 / (768 + 64)) ** (1 / 2 / 5) / right**0.5
        assert entries.std().item() == pytest.approx(expected, rel=0.03)
        assert abs(entries.mean().item()) < 0.05 * expected
    matrices = [dense([core.detach().numpy() for core in train.cores], 768) for train in trains]
    assert np.mean(np.square(matrices)) == pytest.approx(1 / (768 + 64), rel=0.1)


def test_a_dense_bias_starts_uniform_within_its_bound() -> None:
    torch.manual_seed(0)
    bias = torch.cat([TensorTrainLinear(8, 64, rank=2, bias=True).bias for _ in range(50)])
    assert 0.99 / 8 < bias.abs().max() <= 1 / 8
    assert bias.std().item() == pytest.approx(1 / 8 / 3**0.5, rel=0.03)


@pytest.mark.parametrize("tensor_rank", [1, 5])
def test_rep_adds_the_scaled_product_to_the_weight(tensor_rank: int) -> None:
    bare = tiny("bert").double()
    fields = {"rank": 3, "alpha": 12, "tensor_rank": tensor_rank, "targets": ("query", "up")}
    adaptation = randomised(LorettaRep(**fields), bare)
    expected = copy.deepcopy(bare)
    paths = [
        f"bert.encoder.layer.{layer}.{part}"
        for layer in range(2)
        for part in ("attention.self.query", "intermediate.dense")
    ]
    assert {name.partition(".adapter.")[0] for name in adaptation.trainable} == set(paths)
    for path in paths:
        values = values_at(adaptation, path)
        update = matrix_of(values, "A", HIDDEN) @ matrix_of(values, "B", 3)
        expected.get_parameter(f"{path}.weight").data += 12 / 3 * torch.from_numpy(update.T)
    torch.testing.assert_close(logits(adaptation.model), logits(expected), rtol=0, atol=1e-11)
    merged = adaptation.merge()
    for name, value in expected.state_dict().items():
        if name.endswith("weight") and name.removesuffix(".weight") in paths:
            torch.testing.assert_close(merged.state_dict()[name], value, rtol=0, atol=1e-12)
        elif name not in adaptation.head:
            assert same_bits(merged.state_dict()[name], value), name


def test_the_dropout_of_rep_spares_the_frozen_path() -> None:
    method = LorettaRep(dropout=0.5)
    path = "bert.encoder.layer.0.attention.self.query"
    adaptation = randomised(method, tiny("bert"))
    layer, values, x = (
        adaptation.model.get_submodule(path),
        values_at(adaptation, path),
        hidden_states(HIDDEN),
    )
    torch.manual_seed(5)
    with torch.no_grad():
        output = layer.train()(x)
    torch.manual_seed(5)
    dropped = nn.functional.dropout(x, 0.5).numpy()
    update = 2 * dropped @ matrix_of(values, "A", HIDDEN) @ matrix_of(values, "B", 8)
    bare = tiny("bert").double().get_submodule(path)
    with torch.no_grad():
        np.testing.assert_allclose(output.numpy(), bare(x).numpy() + update, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("part", "width"), [("attention.output.dense", HIDDEN), ("output.dense", FFN)])
def test_adp_follows_the_linear_layer_with_its_residual(part: str, width: int) -> None:
    path = f"bert.encoder.layer.1.{part}"
    bare = tiny("bert").double()
    adaptation = randomised(LorettaAdp(bottleneck=24), bare)
    values, x = values_at(adaptation, path), hidden_states(width)
    with torch.no_grad():
        h, output = bare.get_submodule(path)(x).numpy(), adaptation.model.get_submodule(path)(x).numpy()
    inner = np.maximum(h @ matrix_of(values, "down", HIDDEN) + values["down.bias"], 0)
    by_hand = h + inner @ matrix_of(values, "up", 24) + values["up.bias"]
    np.testing.assert_allclose(output, by_hand, rtol=0, atol=1e-11)
    untouched = path.replace("output.dense", "output.dropout")
    assert not adaptation.model.get_submodule(untouched)._forward_hooks


@pytest.mark.parametrize("method_name", ["loretta_rep", "loretta_adp"])
def test_cores_stay_in_fp32_under_bf16(method_name: str, method: GetMethod) -> None:
    adaptation = method(method_name, "tensor_rank=2").adapt(tiny("bert"))
    exact = logits(adaptation.model)
    MasterWeights(adaptation.model, adaptation.trainable.values(), torch.bfloat16)
    cores = {name: value for name, value in adaptation.trainable.items() if ".cores." in name}
    assert {value.dtype for value in cores.values()} == {torch.float32}
    torch.testing.assert_close(logits(adaptation.model), exact, rtol=0.1, atol=0.15)
    adaptation.model.train()(**batch()).logits.sum().backward()
    assert all(value.grad is not None for value in adaptation.trainable.values())


@pytest.mark.parametrize(("method_name", "count"), [("loretta_rep", 20_640), ("loretta_adp", 40_992)])
def test_the_twelve_layer_minilm_trains_the_values_of_the_formula(
    method_name: str, count: int, method: GetMethod, compose: Callable[..., dict[str, Any]]
) -> None:
    backbone = BackboneConfig(**compose("backbone=minilm", "backbone.shape.num_hidden_layers=12")["backbone"])
    assert count_values(MeasuredModel(backbone, method(method_name)))["trained"] == count
