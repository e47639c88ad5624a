"""PHA on several tasks against its formulas in float64, one example and one pair at a time."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gluelamp.backbones.load import BackboneConfig, build_from_shape
from gluelamp.backbones.task_ids import accept_task_ids, task_ids
from gluelamp.methods.base import Adaptation
from gluelamp.methods.pha import PHA, between_examples, to_prototypes
from gluelamp.methods.storage import count_parameters
from methods.cases import GetMethod
from tiny_models import OUTPUTS, batch, logits, tiny

Array = np.ndarray
TASKS = torch.tensor([0, 1, 2, 0, 1, 0, 0, 1])
METHOD = PHA(bottleneck=4, embedding_size=6)


def several(architecture: str = "bert", seed: int = 0) -> Adaptation:
    """A model of three tasks, with values large enough to see."""
    model = tiny(architecture)
    accept_task_ids(model, 3)
    torch.manual_seed(seed)
    adaptation = METHOD.adapt(model)
    for value in adaptation.trainable.values():
        value.data = torch.randn_like(value) / 2
    adaptation.model.double()
    return adaptation


def of_tasks(adaptation: Adaptation, tasks: Tensor) -> Tensor:
    return logits(adaptation.model, batch() | {"task_ids": tasks})


def made(adaptation: Adaptation, task: int, block: int) -> list[Array]:
    """The four tensors of an adapter, by explicit products."""
    values = {
        name.partition(".adapter.")[2]: value.detach().numpy() for name, value in adaptation.trainable.items()
    }
    x = np.concatenate([values["prototypes.weight"][task], values["blocks.weight"][block]])
    x = np.maximum(values["join.0.weight"] @ x + values["join.0.bias"], 0)
    x = values["join.2.weight"] @ x + values["join.2.bias"]
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-6) * values["join.3.weight"] + values["join.3.bias"]
    heads = ("down_weight", "down_bias", "up_weight", "up_bias")
    down, down_bias, up, up_bias = (values[f"{h}.0.weight"] @ x + values[f"{h}.0.bias"] for h in heads)
    return [down.reshape(4, -1), down_bias, up.reshape(-1, 4), up_bias]


@pytest.mark.parametrize("task", [0, 2])
def test_each_example_passes_its_own_tasks_adapter(task: int) -> None:
    adaptation = several()
    bare = tiny("bert").double()

    def add(layer: int, _: object, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        down, down_bias, up, up_bias = map(torch.from_numpy, made(adaptation, task, layer))
        return output + functional.relu(entered[layer] @ down.T + down_bias) @ up.T + up_bias

    entered: dict[int, Tensor] = {}
    for layer, block in enumerate(bare.bert.encoder.layer):
        block.intermediate.register_forward_pre_hook(
            lambda _, inputs, layer=layer: entered.__setitem__(layer, inputs[0])
        )
        block.output.dropout.register_forward_hook(partial(add, layer))
    rows = task == TASKS
    expected = logits(bare)[rows]
    torch.testing.assert_close(of_tasks(adaptation, TASKS)[rows], expected, atol=1e-10, rtol=0)
    assert not torch.allclose(of_tasks(adaptation, TASKS), of_tasks(adaptation, TASKS.flip(0)), atol=1e-3)


def normalised(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def explicit_between(z: Array, tasks: list[int], t: float) -> float:
    losses = []
    for i, own in enumerate(tasks):
        others = [a for a in range(len(tasks)) if a != i]
        total = sum(np.exp(z[i] @ z[a] / t) for a in others)
        friends = [-np.log(np.exp(z[i] @ z[p] / t) / total) for p in others if tasks[p] == own]
        if friends:
            losses.append(np.mean(friends))
    return float(np.mean(losses)) if losses else 0.0


def explicit_to_prototypes(z: Array, k: Array, tasks: list[int], t: float) -> float:
    losses = []
    for i, own in enumerate(tasks):
        others = sum(np.exp(z[i] @ k[other] / t) for other in range(len(k)) if other != own)
        losses.append(-np.log(np.exp(z[i] @ k[own] / t) / others))
    return float(np.mean(losses))


@pytest.mark.parametrize(
    "tasks", [TASKS.tolist(), [0, 1, 2], [1]], ids=["mixed", "no two equal", "one example"]
)
def test_the_contrastive_losses_are_those_of_their_sums(tasks: list[int]) -> None:
    rng = np.random.default_rng(0)
    z, k = rng.normal(size=(len(tasks), 6)), rng.normal(size=(3, 6))
    examples = torch.tensor(z, requires_grad=True)
    ids, normal = torch.tensor(tasks), normalised(z)
    between = between_examples(examples, ids, 0.1)
    assert between.item() == pytest.approx(explicit_between(normal, tasks, 0.1), abs=1e-10)
    toward = to_prototypes(examples, torch.tensor(k), ids, 0.1)
    assert toward.item() == pytest.approx(explicit_to_prototypes(normal, normalised(k), tasks, 0.1))
    (between + toward).backward()
    assert examples.grad.isfinite().all()


def test_a_training_step_adds_both_losses_of_the_mean_hidden_states() -> None:
    adaptation = several()
    adaptation.model.eval()  # no dropout; only the encoder is in training mode
    adaptation.model.base_model.training = True
    inputs = batch() | {"task_ids": TASKS}
    inputs["attention_mask"] = inputs["attention_mask"].clone()
    inputs["attention_mask"][1, 5:] = 0
    loss = adaptation.objective(lambda: adaptation.model(**inputs).logits, lambda outputs: outputs.mean())
    hidden = adaptation.model.base_model(**{k: v for k, v in inputs.items() if k != "task_ids"})[0]
    mask = inputs["attention_mask"].double()
    pooled = torch.stack([(row * m[:, None]).sum(0) / m.sum() for row, m in zip(hidden, mask, strict=True)])
    network = adaptation.changes[0].network
    z = normalised(network.embed(pooled).detach().numpy())
    k = normalised(network.prototypes.weight.detach().numpy())
    contrasts = explicit_between(z, TASKS.tolist(), 0.1) + explicit_to_prototypes(z, k, TASKS.tolist(), 0.1)
    task = adaptation.model(**inputs).logits.mean().item()
    assert loss.item() == pytest.approx(task + 0.1 * contrasts, abs=1e-6)
    loss.backward()
    assert all(value.grad is not None for value in adaptation.trainable.values())


def test_with_one_task_the_objective_is_the_tasks_own() -> None:
    adaptation = METHOD.adapt(tiny("bert"))
    assert not [name for name in adaptation.trainable if ".embed." in name]
    adaptation.model.train()
    outputs = torch.randn(8, OUTPUTS, requires_grad=True)
    assert adaptation.objective(lambda: outputs, torch.sum) == outputs.sum()


def test_a_copied_model_reads_its_own_tasks() -> None:
    adaptation = several()
    adaptation.detach()
    one, other = adaptation.model, copy.deepcopy(adaptation.model)
    logits(other, batch() | {"task_ids": TASKS})
    assert task_ids(other).current is not None
    assert task_ids(one).current is None


@pytest.mark.parametrize(
    ("name", "bottleneck", "printed"),
    [
        ("bert_base", 64, 6_576_704),
        ("bert_base", 8, 982_024),
        ("roberta_large", 64, 8_756_800),
        ("roberta_large", 8, 1_298_440),
    ],
)
def test_eight_tasks_cost_what_the_formula_says(
    compose: object, method: GetMethod, name: str, bottleneck: int, printed: int
) -> None:
    backbone = BackboneConfig(**compose(f"backbone={name}")["backbone"])
    with torch.device("meta"):
        model = build_from_shape(backbone, 2, "eager")
        accept_task_ids(model, 8)
        adaptation = method("pha", f"bottleneck={bottleneck}").adapt(model)
    assert count_parameters(adaptation)["trained"] == printed
