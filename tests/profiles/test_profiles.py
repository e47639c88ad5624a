"""The profile store: exact round trips, appends that are all or nothing, and damage that stays local."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.profiles import ProfileStore
from tiny_models import same_bits

PROVENANCE, METHOD = {"backbone": "b" * 8, "shared": "s" * 8}, {"name": "xpeft", "num_adapters": 10}
LAYOUT = {"mask": torch.empty(3, dtype=torch.uint8), "head": torch.empty(2, 2)}
NAMES = ["ann", "bo", "charles", "didi", "e", "fatima"]
State = dict[str, Tensor]


def random_states(profiles: int, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        "mask": torch.randint(0, 256, (profiles, 3), generator=generator, dtype=torch.uint8),
        "head": torch.randn(profiles, 2, 2, generator=generator),
    }


def new_store(path: Path) -> ProfileStore:
    return ProfileStore.create(path, LAYOUT, provenance=PROVENANCE, method=METHOD)


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(same_bits(first[key], second[key]) for key in first)


def row(states: State, number: int) -> State:
    return {name: value[number] for name, value in states.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last.profiles"


@pytest.fixture
def content(path: Path) -> bytes:
    """The bytes of a store with a profile for each of ``NAMES``."""
    with new_store(path) as store:
        store.append(NAMES, random_states(len(NAMES)))
    return path.read_bytes()


def test_every_type_and_shape_is_read_bit_for_bit(path: Path) -> None:
    states = {
        "flags": torch.tensor([[True, False, True], [False, True, True]]),
        "bits": torch.tensor([[255], [0]], dtype=torch.uint8),
        "scalar": torch.tensor([-0.0, float("nan")]),
        "half": torch.randn(2, 1, 3).half(),
        "brain": torch.randn(2, 3, 1).bfloat16(),
        "nothing": torch.empty(2, 0, 4),
        "counts": torch.tensor([[2**31 - 1], [-(2**31)]], dtype=torch.int32),
        "positions": torch.tensor([[2**62, -1], [0, 1]]),
    }
    layout = {name: value[0] for name, value in states.items()}
    ProfileStore.create(path, layout, provenance={}, method={}).append(["a", "b"], states)

    store = ProfileStore.open(path)
    assert same(store.read("b"), row(states, 1))
    assert same(store.read_many(["b", "a", "b"]), {k: v[[1, 0, 1]] for k, v in states.items()})
    assert same(store.read_many(["b"]), {k: v[1:] for k, v in states.items()})
    assert {k: (v.shape, v.dtype) for k, v in store.layout.items()} == {
        k: (v.shape, v.dtype) for k, v in layout.items()
    }
    store.read("a")["half"].zero_()  # a copy: the store is unchanged
    assert same(store.read("a"), row(states, 0))


def test_a_reopened_store_has_its_header_and_the_last_state_of_each_profile(path: Path) -> None:
    with new_store(path) as store:
        store.append(["b", "a"], random_states(2, 0), [{"rows": 31}, {"name": "Zoë"}])
        store.append(["b", "c"], random_states(2, 1), [{"rows": 32}, {}])
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # one file, nothing next to it
    with ProfileStore.open(path) as store:
        assert (store.provenance, store.method) == (PROVENANCE, METHOD)
        assert (store.ids, len(store), "a" in store, "d" in store) == (["b", "a", "c"], 3, True, False)
        assert (store.details("b"), store.details("a")) == ({"rows": 32}, {"name": "Zoë"})
        assert same(store.read("b"), row(random_states(2, 1), 0))
        assert same(store.read("a"), row(random_states(2, 0), 1))
        assert store.problems() == []


def test_a_store_in_a_read_only_folder_can_be_read_but_not_written(path: Path, content: bytes) -> None:
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        store = ProfileStore.open(path)
        assert same(store.read("ann"), row(random_states(6), 0))
        if os.geteuid() != 0:  # root may write everywhere
            with pytest.raises(InputError, match=r"cannot be written: .*Nothing was appended"):
                store.append(["a"], random_states(1))
    finally:
        path.parent.chmod(0o700)


def test_a_flipped_byte_of_a_profile_costs_this_profile_alone(path: Path, content: bytes) -> None:
    damaged = bytearray(content)
    damaged[content.index(random_states(6)["head"][2].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(damaged)
    store = ProfileStore.open(path)
    for read in (store.read, store.details, lambda name: store.read_many(["ann", name])):
        with pytest.raises(InputError, match="'charles' is damaged: its checksum is wrong"):
            read("charles")
    assert len(store.problems()) == 1
    assert [same(store.read(name), row(random_states(6), i)) for i, name in enumerate(NAMES) if i != 2] == [
        True
    ] * 5

    store.append(["charles"], {name: value[2:3] for name, value in random_states(6).items()})
    assert (store.problems(), store.ids) == ([], NAMES)
    assert same(store.read_many(NAMES), random_states(6))


def test_no_flipped_byte_gives_a_wrong_profile(path: Path, content: bytes) -> None:
    used = [place for place, byte in enumerate(content) if byte]  # the free bytes of a page are zeros
    outcomes = set()
    for place in used[:: max(1, len(used) // 300)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            store = ProfileStore.open(path)
        except InputError:
            outcomes.add("refused")
            continue
        for number, name in enumerate(NAMES):
            try:
                assert same(store.read(name), row(random_states(6), number)), place
            except InputError:
                outcomes.add("named")
        store.close()
    assert outcomes == {"refused", "named"}


def test_a_cut_file_is_refused(path: Path, content: bytes) -> None:
    for size in range(0, len(content), 40_000):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"is not a profile store .* or its header is damaged"):
            ProfileStore.open(path)


def append_and_die(path: Path) -> None:
    """Kill this process in the middle of an append, after pages were written to the file."""
    store = ProfileStore.open(path)
    store._connection.execute("PRAGMA cache_size = 1")  # pages are written before the commit
    store._connection.set_trace_callback(
        lambda query: os.kill(os.getpid(), signal.SIGKILL) if "'last'" in query else None
    )
    store.append([*(f"new{n}" for n in range(5000)), "last"], random_states(5001))


def test_an_append_that_a_kill_interrupts_is_undone(path: Path, content: bytes) -> None:
    process = multiprocessing.get_context("fork").Process(target=append_and_die, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert path.read_bytes() != content
    store = ProfileStore.open(path)
    assert (store.ids, store.problems()) == (NAMES, [])
    assert path.read_bytes() == content


def append_slowly(path: Path, letter: str) -> None:
    store = ProfileStore.open(path)
    for number in range(20):
        store.append([f"{letter}{number}"], random_states(1, number))


def test_processes_may_append_and_read_at_the_same_time(path: Path) -> None:
    new_store(path).close()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_slowly, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    store = ProfileStore.open(path)
    while any(writer.is_alive() for writer in writers):
        for name in store.ids:  # a reader finds whole profiles only
            assert same(store.read(name), row(random_states(1, int(name[1:])), 0))
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert (len(store), store.problems()) == (40, [])


def test_an_append_to_a_store_that_was_removed_is_refused(path: Path, content: bytes) -> None:
    store = ProfileStore.open(path)
    path.unlink()
    with pytest.raises(InputError, match="cannot be written"):
        store.append(["a"], random_states(1))


def sqlite_file(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (id TEXT)")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_bytes(b""), "is not a profile store"),
        (lambda path: path.write_bytes(b"<html><body>404</body></html>"), "is not a profile store"),
        (sqlite_file, "is not a profile store"),
        (lambda path: path.write_bytes(b"\xff\xff\xff\xff\x10\0\0\0" * 9), "profile store of version 1"),
        (lambda path: None, "does not exist"),
    ],
    ids=["empty", "web page", "other database", "Arrow store", "missing"],
)
def test_a_file_that_is_not_a_store_is_refused(path: Path, write: Callable[[Path], None], words: str) -> None:
    write(path)
    with pytest.raises(InputError, match=words):
        ProfileStore.open(path)


def test_create_never_overwrites(path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="exists"):
        new_store(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("layout", "words"),
    [({}, "has no values"), ({"a": torch.zeros(2).double()}, r"layout\['a'\] is torch.float64")],
)
def test_a_layout_that_cannot_be_stored_is_refused(path: Path, layout: State, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ProfileStore.create(path, layout, provenance={}, method={})
    assert not path.exists()


WRONG: dict[str, tuple[Callable[[ProfileStore], None], str]] = {
    "missing": (lambda s: s.append(["a"], {"mask": random_states(1)["mask"]}), "the first is 'head'"),
    "profiles": (lambda s: s.append(["a", "b"], random_states(1)), r"needs torch.float32 \(2, 2, 2\)"),
    "type": (lambda s: s.append(["a"], {k: v.int() for k, v in random_states(1).items()}), "torch.int32"),
    "twice": (lambda s: s.append(["a", "a"], random_states(2)), "occurs twice"),
    "empty id": (lambda s: s.append([""], random_states(1)), "non-empty strings"),
    "details": (lambda s: s.append(["a"], random_states(1), [{}, {}]), "details for 2"),
    "json": (lambda s: s.append(["a"], random_states(1), [{"x": {1}}]), "details of 'a' cannot be written"),
    "nan": (lambda s: s.append(["a"], random_states(1), [{"x": float("nan")}]), "cannot be written as JSON"),
    "unknown": (lambda s: s.read_many(["ann", "Fatima"]), "no profile 'Fatima'; it has 6, such as 'fatima'"),
}


@pytest.mark.parametrize("key", WRONG)
def test_what_does_not_fit_is_refused_and_writes_nothing(path: Path, content: bytes, key: str) -> None:
    use, words = WRONG[key]
    with pytest.raises(InputError, match=words):
        use(ProfileStore.open(path))
    assert path.read_bytes() == content
