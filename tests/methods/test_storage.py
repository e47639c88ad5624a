"""Files of task states and of what tasks share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gluelamp.errors import InputError
from gluelamp.methods.storage import (
    content_hash,
    load_task_state,
    provenance,
    save_task_state,
    write_shared_state,
)
from methods.cases import GetMethod, adapt, snapshot
from tiny_models import logits, tiny


def test_a_missing_file_is_refused(tmp_path: Path, method: GetMethod) -> None:
    adaptation = method("bitfit").adapt(tiny("bert"))
    with pytest.raises(InputError, match="does not exist"):
        load_task_state(tmp_path / "no.safetensors", adaptation, provenance(adaptation, ""))


def test_a_state_of_another_shape_is_refused_before_anything_moves(method: GetMethod) -> None:
    state = method("lora", "rank=2").adapt(tiny("bert")).task_state()
    target = method("lora", "rank=4").adapt(tiny("bert"))
    before = snapshot(target)
    with pytest.raises(InputError, match=r"8 tensors differ in name or shape.*query\.lora_A"):
        target.load_task_state(state)
    assert all(torch.equal(value, before[name]) for name, value in target.task_state().items())


def test_a_state_of_another_method_is_refused(method: GetMethod) -> None:
    state = method("bitfit").adapt(tiny("bert")).task_state()
    with pytest.raises(InputError, match="tensors differ in name or shape"):
        method("full").adapt(tiny("bert")).load_task_state(state)


def test_a_save_leaves_one_file_and_replaces_the_one_before(tmp_path: Path, method: GetMethod) -> None:
    path = tmp_path / "best.safetensors"
    adaptation = method("bitfit").adapt(tiny("bert"))
    for number in (1.0, 2.0):
        for value in adaptation.trainable.values():
            value.data.fill_(number)
        save_task_state(path, adaptation, provenance(adaptation, "a" * 64))
    assert list(tmp_path.iterdir()) == [path]
    name = next(iter(adaptation.trainable))
    assert load_file(path)[name].unique().tolist() == [2.0]


def test_what_tasks_share_is_written_once_under_its_own_hash(tmp_path: Path, method: GetMethod) -> None:
    for seed in (0, 1):
        adaptation = adapt(method("pafi"), tiny("bert"), seed)
        origin = provenance(adaptation, "a" * 64)
        write_shared_state(tmp_path / "shared", adaptation, origin)
    (path,) = (tmp_path / "shared").iterdir()
    written = load_file(path)
    assert path.stem == origin["shared"] == content_hash(written)
    assert written.keys() == adaptation.shared_state().keys()


@pytest.mark.parametrize("remaining", [0, 4, 100, -1])
def test_a_damaged_task_state_is_named(tmp_path: Path, method: GetMethod, remaining: int) -> None:
    adaptation = method("bitfit").adapt(tiny("bert"))
    path, origin = tmp_path / "best.safetensors", provenance(adaptation, "a" * 64)
    save_task_state(path, adaptation, origin)
    path.write_bytes(path.read_bytes()[:remaining])
    with pytest.raises(InputError, match=r"best\.safetensors is damaged \(.*\)\. Train the run again"):
        load_task_state(path, adaptation, origin)


def test_a_method_that_shares_nothing_writes_nothing(tmp_path: Path, method: GetMethod) -> None:
    adaptation = method("bitfit").adapt(tiny("bert"))
    write_shared_state(tmp_path / "shared", adaptation, provenance(adaptation, "a" * 64))
    assert not list(tmp_path.iterdir())


def test_the_content_hash_sees_names_shapes_types_and_values() -> None:
    base = {"a": torch.arange(6, dtype=torch.float32).view(2, 3)}
    others = [
        {"b": base["a"]},
        {"a": base["a"].view(3, 2)},
        {"a": base["a"].view(torch.int32)},
        {"a": -base["a"]},
        {},
    ]
    assert content_hash(base) == content_hash({"a": base["a"].clone()})
    assert len({content_hash(base), *map(content_hash, others)}) == 1 + len(others)


def test_the_pooler_of_a_two_layer_head_is_trained_counted_and_stored(method: GetMethod) -> None:
    frozen = method("lora").adapt(tiny("bert", "linear"))
    trained = method("lora").adapt(tiny("bert"))
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert set(trained.head) - set(frozen.head) == pooler
    assert pooler <= trained.task_state().keys()
    assert set(trained.trainable) == set(frozen.trainable)
    state = {n: v.clone() + 0.1 if n in pooler else v.clone() for n, v in trained.task_state().items()}
    before = logits(trained.model)
    trained.load_task_state(state)
    assert not torch.equal(logits(trained.model), before)
