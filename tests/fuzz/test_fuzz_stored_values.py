"""Checkpoints, task states and profile stores: the values that were written, or a refusal; no code is run."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.damage import damaged, value_or_refusal
from gluelamp.errors import InputError
from gluelamp.methods.storage import load_task_state, read_selection, save_task_state
from gluelamp.profiles import ProfileStore
from gluelamp.training.checkpoint import load_checkpoint, save_checkpoint
from tiny_models import same_bits

VALUES = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}
CHECKPOINT = {"epoch": 2, "history": [{"loss": 0.5}], "values": VALUES}
LAYOUT = {"mask": torch.empty(3, dtype=torch.uint8), "head": torch.empty(2, 2)}
ORIGIN = {"backbone": "b" * 8, "shared": ""}


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


class State:
    """What `save_task_state` and `load_task_state` need of an adaptation."""

    def __init__(self) -> None:
        self.loaded: dict[str, torch.Tensor] = {}

    def task_state(self) -> dict[str, torch.Tensor]:
        return {"choice.positions": torch.arange(4), "value": torch.linspace(-1, 1, 6).view(2, 3)}

    def load_task_state(self, state: dict[str, torch.Tensor]) -> None:
        self.loaded = state


@pytest.fixture(scope="session")
def checkpoint(folder: Path) -> bytes:
    save_checkpoint(folder / "valid.pt", CHECKPOINT)
    return (folder / "valid.pt").read_bytes()


@pytest.fixture(scope="session")
def task_state(folder: Path) -> bytes:
    save_task_state(folder / "valid.safetensors", State(), ORIGIN)  # type: ignore[arg-type]
    return (folder / "valid.safetensors").read_bytes()


@pytest.fixture(scope="session")
def store(folder: Path) -> bytes:
    with ProfileStore.create(
        folder / "valid.profiles", LAYOUT, provenance=ORIGIN, method={"name": "m"}
    ) as new:
        states = {"mask": torch.arange(6, dtype=torch.uint8).view(2, 3), "head": torch.ones(2, 2, 2)}
        new.append(["ann", "bo"], states, [{"rows": 1}, {"rows": 2}])
    return (folder / "valid.profiles").read_bytes()


@given(data=st.data())
def test_checkpoints(folder: Path, checkpoint: bytes, data: st.DataObject) -> None:
    path = folder / "a.pt"
    path.write_bytes(data.draw(damaged(checkpoint) | st.binary(max_size=64)))
    content = value_or_refusal(lambda: load_checkpoint(path))
    # each part has a checksum: what is returned is what was written
    assert content is None or {**content, "values": None} == {**CHECKPOINT, "values": None}
    assert content is None or all(same_bits(content["values"][name], VALUES[name]) for name in VALUES)


@given(data=st.data())
def test_checkpoints_whose_checksums_fit(folder: Path, checkpoint: bytes, data: st.DataObject) -> None:
    with ZipFile(io.BytesIO(checkpoint)) as valid, ZipFile(folder / "b.pt", "w") as archive:
        for name in valid.namelist():
            content = valid.read(name)
            archive.writestr(name, data.draw(damaged(content)) if name.endswith("data.pkl") else content)
    value_or_refusal(lambda: load_checkpoint(folder / "b.pt"))


@given(data=st.data())
def test_task_states(folder: Path, task_state: bytes, data: st.DataObject) -> None:
    path = folder / "a.safetensors"
    path.write_bytes(data.draw(damaged(task_state) | st.binary(max_size=64)))
    value_or_refusal(lambda: read_selection(path))
    value_or_refusal(lambda: load_task_state(path, State(), ORIGIN))  # type: ignore[arg-type]


@given(data=st.data())
def test_profile_stores(folder: Path, store: bytes, data: st.DataObject) -> None:
    path = folder / "a.profiles"
    path.write_bytes(data.draw(damaged(store) | st.binary(max_size=64)))
    opened = value_or_refusal(lambda: ProfileStore.open(path))
    if opened is None:
        return
    with opened:
        value_or_refusal(lambda: len(opened))
        value_or_refusal(opened.problems)
        for number, name in enumerate(["ann", "bo"]):
            value_or_refusal(lambda name=name: opened.details(name))
            state = value_or_refusal(lambda name=name: opened.read(name))
            value_or_refusal(lambda name=name: opened.read_many([name, name]))
            # each row has a checksum: what is returned is what was appended
            assert state is None or state["mask"].tolist() == [3 * number + at for at in range(3)]
            assert state is None or same_bits(state["head"], torch.ones(2, 2))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("saved", ["torch", "torch_legacy", "pickle"])
def test_a_checkpoint_with_a_pickled_call_is_refused_and_calls_nothing(
    tmp_path: Path, saved: str, protocol: int
) -> None:
    path, written = tmp_path / "checkpoint.pt", tmp_path / "written"
    if saved == "pickle":
        path.write_bytes(pickle.dumps(Code(written), protocol))
    else:
        torch.save(
            {"epoch": 1, "values": Code(written)},
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=saved == "torch",
        )
    with pytest.raises(InputError, match="is damaged"):
        load_checkpoint(path)
    assert not written.exists()
    torch.load(path, weights_only=False) if saved != "pickle" else pickle.loads(path.read_bytes())
    assert written.exists(), "the file would call if it were unpickled"


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a\x00b", "'; DROP TABLE profiles; --", "ü"])
def test_the_name_of_a_profile_is_no_path_and_no_command(tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    states = {"mask": torch.zeros(1, 3, dtype=torch.uint8), "head": torch.ones(1, 2, 2)}
    path = tmp_path / "inner" / "a.profiles"
    with ProfileStore.create(path, LAYOUT, provenance=ORIGIN, method={"name": "m"}) as store:
        store.append([name], states, [{}])
        assert store.ids == [name]
        assert same_bits(store.read(name)["head"], torch.ones(2, 2))
    assert sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()) == [
        Path("inner/a.profiles")
    ]
