"""`Method.select`: what the phases of a method select from a dataloader of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import gluelamp as gl
from library.heads import headed, labelled
from tiny_models import batch, logits, same_bits, tiny

ROWS = 24


def rows() -> list[dict[str, Tensor]]:
    inputs = batch(rows=ROWS)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(number % 3)}
        for number, (ids, mask) in enumerate(zip(*inputs.values(), strict=True))
    ]


def positions(selection: gl.Selection) -> set[tuple[str, int]]:
    return {(name, position) for name, where in selection.tensors.items() for position in where.tolist()}


@pytest.mark.parametrize("labels", ["observed", "expected"])
def test_fish_selects_the_largest_squared_gradients_of_single_examples(labels: str) -> None:
    model, method = tiny("bert"), gl.FISH(density=0.02, examples=10, labels=labels)
    selection = method.select(model, DataLoader(rows(), batch_size=4))

    reference = tiny("bert").double().eval()
    reference.requires_grad_(True)
    scores: dict[str, Tensor] = {}
    for row in rows()[:10]:
        log_probabilities = reference(row["input_ids"][None]).logits.log_softmax(-1)[0]
        classes = range(3) if labels == "expected" else [int(row["labels"])]
        for number in classes:
            weight = log_probabilities[number].exp().item() if labels == "expected" else 1.0
            reference.zero_grad()
            (-log_probabilities[number]).backward(retain_graph=True)
            for name, value in reference.named_parameters():
                if not name.startswith(("classifier", "bert.pooler")):
                    scores[name] = scores.get(name, 0) + weight * value.grad.square()
    flat = torch.cat([score.flatten() for score in scores.values()])
    budget = round(0.02 * len(flat))
    threshold = flat.topk(budget).values[-1]
    expected = {
        (f"{name}.positions", position)
        for name, score in scores.items()
        for position in torch.nonzero(score.flatten() >= threshold).flatten().tolist()
    }
    assert len(positions(selection)) == budget
    assert len(positions(selection) & expected) >= budget - 1  # two scores may be equal to rounding


@pytest.mark.parametrize(
    "method",
    [
        gl.FISH(density=0.1, examples=8),
        gl.LTSFT(density=0.1, first_epochs=1),
        gl.DiffPruning(density=0.1, first_epochs=1, gate_learning_rate=1e-4),
        gl.Hadamard(),
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_selection_is_adapted_trained_and_saved(method: gl.Method, tmp_path: Path) -> None:
    model = tiny("bert")
    bare = {name: value.clone() for name, value in model.state_dict().items()}
    loader = DataLoader(rows(), batch_size=8)
    with pytest.raises(gl.InputError, match=r"select\(model, dataloader\)"):
        method.adapt(model)
    assert all(same_bits(value, bare[name]) for name, value in model.state_dict().items())
    torch.manual_seed(0)
    adapted = method.adapt(model, method.select(model, loader))
    optimizer = adapted.optimizer(1e-2)
    for step in loader:
        adapted.loss(step).backward()
        optimizer.step()
        optimizer.zero_grad()
    expected = logits(adapted.model)
    adapted.save(tmp_path / "task.safetensors")
    again = method.adapt(tiny("bert"), gl.read_selection(str(tmp_path / "task.safetensors")))
    again.load(tmp_path / "task.safetensors")
    assert torch.equal(logits(again.model), expected)
    restored = again.detach().state_dict()
    assert all(same_bits(restored[n], v) for n, v in bare.items() if n not in again.head)


def test_phases_run_on_other_heads_and_need_a_loss() -> None:
    method = gl.LTSFT(density=0.1, first_epochs=1)
    model = headed("bert", "tokens")
    selection = method.select(model, [labelled("tokens")])
    adapted = method.adapt(model, selection)
    assert sum(map(torch.numel, adapted.trainable.values())) == len(positions(selection))
    with pytest.raises(gl.InputError, match="Give the batch labels"):
        method.select(tiny("bert"), [batch()])
    with pytest.raises(gl.InputError, match="classes of a text"):
        gl.FISH(labels="expected").select(headed("bert", "tokens"), [labelled("tokens")])


def test_a_method_without_phases_selects_nothing_and_reads_no_data() -> None:
    class Unread:
        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            raise AssertionError

    assert gl.PaFi().select(tiny("bert"), Unread()) == gl.Selection()
