"""Profiles go into a store and come back bit for bit, and damage costs no more than what it hit."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.methods.xpeft import XPeft
from gluelamp.profiles.store import ProfileStore
from methods.cases import adapt, snapshot
from tiny_models import logits, same_bits, tiny

BOUND_TO, METHOD = {"backbone": "b" * 8, "shared": "s" * 8}, {"name": "xpeft", "num_adapters": 10}
LAYOUT = {"mask": torch.empty(3, dtype=torch.uint8), "head": torch.empty(2, 2)}
State = dict[str, Tensor]


def drawn(profiles: int, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        "mask": torch.randint(0, 256, (profiles, 3), generator=generator, dtype=torch.uint8),
        "head": torch.randn(profiles, 2, 2, generator=generator),
    }


def new_store(path: Path) -> ProfileStore:
    return ProfileStore.create(path, LAYOUT, bound_to=BOUND_TO, method=METHOD)


def same(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(same_bits(first[key], second[key]) for key in first)


def row(states: State, number: int) -> State:
    return {name: value[number] for name, value in states.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "profiles.arrows"


BATCHES = (("ann", "bo"), ("charles", "didi"), ("e", "fatima"))
"""No flipped bit makes one of these ids another."""
EVERYONE = {name for names in BATCHES for name in names}


@pytest.fixture
def ends(path: Path) -> list[int]:
    """A store of three batches: where its header and each batch end."""
    store = new_store(path)
    sizes = [path.stat().st_size]
    for number, names in enumerate(BATCHES):
        store.append(names, drawn(2, number))
        sizes.append(path.stat().st_size)
    return sizes


def readable(store: ProfileStore) -> set[str]:
    """Return which profiles of ``ends`` can be read; what can be read must be what was written."""
    found = set()
    for number, names in enumerate(BATCHES):
        for place, name in enumerate(names):
            try:
                state = store.read(name)
            except InputError:
                continue
            assert same(state, row(drawn(2, number), place)), name
            found.add(name)
    return found


def flipped(path: Path, place: int, mask: int = 1) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= mask
    copy = path.with_name("flipped")
    copy.write_bytes(content)
    return copy


def test_every_type_and_shape_comes_back_bit_for_bit(path: Path) -> None:
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
    ProfileStore.create(path, layout, bound_to={}, method={}).append(["a", "b"], states)

    store = ProfileStore.open(path)
    assert same(store.read("b"), row(states, 1))
    assert same(store.read_many(["b", "a", "b"]), {k: v[[1, 0, 1]] for k, v in states.items()})
    assert {k: (v.shape, v.dtype) for k, v in store.layout.items()} == {
        k: (v.shape, v.dtype) for k, v in layout.items()
    }


def test_one_profile_alone_is_read_as_among_many(path: Path) -> None:
    states = {"head": torch.randn(2, 3), "bits": torch.tensor([[255], [0]], dtype=torch.uint8)}
    layout = {name: value[0] for name, value in states.items()}  # 13 bytes a row, no multiple of 4
    store = ProfileStore.create(path, layout, bound_to={}, method={})
    store.append(["a", "b"], states)
    assert same(store.read_many(["b"]), {name: value[1:] for name, value in states.items()})


def test_what_is_read_may_be_written_to(path: Path) -> None:
    store = new_store(path)
    store.append(["a"], drawn(1))
    store.read("a")["head"].zero_()
    assert same(store.read("a"), row(drawn(1), 0))


def test_a_store_remembers_what_it_is_bound_to_and_the_details_of_profiles(path: Path) -> None:
    new_store(path).append(["b", "a"], drawn(2), [{"rows": 31}, {"name": "Zoë"}])
    with ProfileStore.open(path) as store:
        assert (store.bound_to, store.method) == (BOUND_TO, METHOD)
        assert (store.ids, len(store), "a" in store, "c" in store) == (["b", "a"], 2, True, False)
        assert (store.details("b"), store.details("a")) == ({"rows": 31}, {"name": "Zoë"})
        assert store.problems == []


def test_any_arrow_reader_opens_the_file(path: Path) -> None:
    states = drawn(2)
    new_store(path).append(["a", "b"], states, [{}, {"rows": 2}])
    table = pa.ipc.open_stream(path).read_all()
    assert table.column_names == ["id", "values", "details", "crc"]
    assert table["id"].to_pylist() == ["a", "b"]
    assert table["details"].to_pylist() == ["{}", '{"rows": 2}']
    expected = states["head"][1].numpy().astype("<f4").tobytes() + bytes(states["mask"][1].tolist())
    assert table["values"][1].as_py() == expected


def test_the_last_append_of_a_profile_counts_and_its_place_stays(path: Path) -> None:
    store = new_store(path)
    store.append(["a", "b"], drawn(2, 0), [{"rows": 1}, {}])
    store.append(["a"], drawn(1, 1), [{"rows": 2}])
    for one in (store, ProfileStore.open(path)):
        assert same(one.read("a"), row(drawn(1, 1), 0))
        assert same(one.read("b"), row(drawn(2, 0), 1))
        assert (one.ids, one.details("a")) == (["a", "b"], {"rows": 2})


def test_a_compacted_store_holds_each_profile_once(path: Path) -> None:
    store = new_store(path)
    for seed in range(50):
        store.append(["a", "b"], drawn(2, seed), [{"rows": seed}, {}])
    compact = store.compact(path.with_name("compact"))
    assert compact.path.stat().st_size < path.stat().st_size / 10
    assert (compact.bound_to, compact.method, compact.details("a")) == (BOUND_TO, METHOD, {"rows": 49})
    assert same(compact.read_many(["a", "b"]), drawn(2, 49))


def test_a_reader_sees_new_profiles_only_when_it_asks(path: Path) -> None:
    writer = new_store(path)
    writer.append(["a"], drawn(1, 0))
    reader = ProfileStore.open(path)
    writer.append(["b", "a"], drawn(2, 1))
    assert (reader.ids, same(reader.read("a"), row(drawn(1, 0), 0))) == (["a"], True)
    reader.refresh()
    assert reader.ids == ["a", "b"]
    assert same(reader.read_many(["b", "a"]), drawn(2, 1))


def test_a_refresh_does_not_read_again_what_was_read_before(path: Path, ends: list[int]) -> None:
    store = ProfileStore.open(path)
    place = path.read_bytes().index(row(drawn(2, 1), 0)["head"].numpy().tobytes())
    path.write_bytes(flipped(path, place).read_bytes())
    store.refresh()
    assert store.problems == []
    assert ProfileStore.open(path).problems != []


def test_whole_batches_stay_readable_wherever_the_file_is_cut(path: Path, ends: list[int]) -> None:
    whole = path.read_bytes()
    for size in range(ends[2] + 1):
        path.write_bytes(whole[:size])
        if size < ends[0]:
            with pytest.raises(InputError, match="is not a profile store"):
                ProfileStore.open(path)
            continue
        store = ProfileStore.open(path)
        batches = sum(end <= size for end in ends[1:])
        assert readable(store) == set(store.ids) == {name for names in BATCHES[:batches] for name in names}
        cut = [f"began at byte {ends[batches]}"] if size > ends[batches] else []
        assert len(store.problems) == len(cut), size
        assert all(words in sentence for words, sentence in zip(cut, store.problems, strict=True))


def test_the_next_append_moves_a_broken_end_aside(path: Path, ends: list[int]) -> None:
    whole = path.read_bytes()
    for size in (*range(ends[2], ends[2] + 20), *range(ends[2] + 20, ends[3], 37), ends[3] - 1):
        path.write_bytes(whole[:size])
        reader = ProfileStore.open(path)
        ProfileStore.open(path).append(BATCHES[2], drawn(2, 2))
        assert path.read_bytes() == whole
        if size > ends[2]:
            assert path.with_name(f"{path.name}.tail-{ends[2]}").read_bytes() == whole[ends[2] : size]
        reader.refresh()
        assert (readable(reader), reader.problems) == (EVERYONE, [])


def test_a_flipped_byte_anywhere_harms_one_batch_at_most_and_is_named(path: Path, ends: list[int]) -> None:
    for place in range(ends[0], ends[3]):
        harmed = BATCHES[sum(end <= place for end in ends[1:])]
        store = ProfileStore.open(flipped(path, place, 1 << place % 8))
        lost = EVERYONE - readable(store)
        assert lost <= set(harmed), place
        assert bool(store.problems) or not lost, place


def test_a_store_that_another_file_took_the_place_of_is_not_mixed_with_it(path: Path) -> None:
    store = new_store(path)
    store.append(["ann", "bo"], drawn(2, 0))
    other = new_store(path.with_name("other"))
    other.append(["bo", "ann"], drawn(2, 1))
    other.path.replace(path)
    whole = path.read_bytes()
    for use in (store.refresh, lambda: store.append(["charles"], drawn(1))):
        with pytest.raises(InputError, match=r"was replaced by another file\. Open it again\."):
            use()
    assert path.read_bytes() == whole
    assert same(store.read("ann"), row(drawn(2, 0), 0))  # of the old file, which is still mapped


@pytest.mark.parametrize("check", ["full", "lazy"])
def test_flipped_values_are_named_and_only_their_profile_is_refused(
    path: Path, ends: list[int], check: str
) -> None:
    place = path.read_bytes().index(row(drawn(2, 1), 0)["head"].numpy().tobytes())
    store = ProfileStore.open(flipped(path, place + 5), check)
    assert len(store.problems) == (1 if check == "full" else 0)
    for read in (store.read, store.details, lambda name: store.read_many(["ann", name])):
        with pytest.raises(InputError, match=f"'charles', as it stands at byte {place}, is damaged"):
            read("charles")
    assert len(store.problems) == 1
    assert readable(store) == EVERYONE - {"charles"}

    store.append(["charles"], {name: value[:1] for name, value in drawn(2, 1).items()})
    for repaired in (store, ProfileStore.open(store.path, check)):
        assert readable(repaired) == EVERYONE
        assert repaired.problems == []


def test_a_flipped_byte_of_the_header_is_refused_unless_it_means_nothing(path: Path) -> None:
    store = new_store(path)
    header, refused = path.stat().st_size, 0
    store.append(["a"], drawn(1))
    for place in range(header):
        try:
            store = ProfileStore.open(flipped(path, place))
        except InputError:
            refused += 1
        else:  # Arrow pads, and leaves room that no reader looks at
            assert (store.bound_to, store.method) == (BOUND_TO, METHOD)
            assert same(store.read("a"), row(drawn(1), 0))
    assert refused > 300


@pytest.mark.parametrize(
    "content", [b"", b"<html><body>404</body></html>", b"\xff\xff\xff\xff\x10\0\0\0" * 9]
)
def test_a_file_that_is_no_store_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not a profile store"):
        ProfileStore.open(path)


def test_another_arrow_stream_is_refused(path: Path) -> None:
    path.write_bytes(pa.schema([("id", pa.utf8())]).serialize().to_pybytes())
    with pytest.raises(InputError, match="is not a profile store"):
        ProfileStore.open(path)


def test_create_never_overwrites_and_open_never_creates(path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        ProfileStore.open(path)
    new_store(path).append(["a"], drawn(1))
    with pytest.raises(InputError, match="is there"):
        new_store(path)
    assert "a" in ProfileStore.open(path)


@pytest.mark.parametrize(
    ("layout", "words"),
    [({}, "holds no values"), ({"a": torch.zeros(2).double()}, r"layout\['a'\] is torch.float64")],
)
def test_a_layout_that_cannot_be_stored_is_refused(path: Path, layout: State, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ProfileStore.create(path, layout, bound_to={}, method={})
    assert not path.exists()


def without_head(states: State) -> State:
    return {"mask": states["mask"]}


WRONG: dict[str, tuple[Callable[[ProfileStore], None], str]] = {
    "name": (lambda s: s.append(["a"], without_head(drawn(1))), "the first is 'head'"),
    "surplus": (lambda s: s.append(["a"], drawn(1) | {"x": torch.ones(1)}), "the first is 'x'"),
    "profiles": (lambda s: s.append(["a", "b"], drawn(1)), r"needs torch.float32 \(2, 2, 2\)"),
    "shape": (lambda s: s.append(["a"], drawn(1) | {"mask": torch.zeros(1, 4).byte()}), r"\(1, 4\)"),
    "type": (lambda s: s.append(["a"], {k: v.int() for k, v in drawn(1).items()}), "torch.int32"),
    "twice": (lambda s: s.append(["a", "a"], drawn(2)), "stands twice"),
    "empty id": (lambda s: s.append([""], drawn(1)), "non-empty strings"),
    "details": (lambda s: s.append(["a"], drawn(1), [{}, {}]), "details for 2"),
    "json": (lambda s: s.append(["a"], drawn(1), [{"rows": {1}}]), "details of 'a' cannot be written"),
    "nan": (lambda s: s.append(["a"], drawn(1), [{"rows": float("nan")}]), "cannot be written as JSON"),
}


@pytest.mark.parametrize("key", WRONG)
def test_an_append_that_does_not_fit_is_refused_and_writes_nothing(path: Path, key: str) -> None:
    store = new_store(path)
    before = path.read_bytes()
    append, words = WRONG[key]
    with pytest.raises(InputError, match=words):
        append(store)
    assert path.read_bytes() == before


def test_an_unknown_profile_is_refused_with_the_nearest_name(path: Path, ends: list[int]) -> None:
    store = ProfileStore.open(path)
    with pytest.raises(InputError, match="no profile 'Fatima'; it has 6, such as 'fatima'"):
        store.read("Fatima")
    with pytest.raises(InputError, match="no profile 'zz'"):
        store.read_many(["ann", "zz"])
    with pytest.raises(InputError, match="has 0\\."):
        new_store(path.with_name("empty")).details("ann")


def append_slowly(path: Path, letter: str) -> None:
    store = ProfileStore.open(path)
    for number in range(20):
        store.append([f"{letter}{number}"], drawn(1, number))


def test_processes_that_append_at_the_same_time_lose_nothing(path: Path) -> None:
    new_store(path)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_slowly, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    store = ProfileStore.open(path)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert (len(store), store.problems) == (40, [])
    assert all(same(store.read(f"{x}{n}"), row(drawn(1, n), 0)) for x in "ab" for n in range(20))


def test_a_stored_profile_gives_an_adaptation_its_outputs_back(path: Path) -> None:
    method = XPeft(name="xpeft", learning_rate=1e-3, num_adapters=10, top_k=4, reduction_factor=4)
    first, second = (adapt(method, tiny("bert"), seed) for seed in (0, 1))
    state = snapshot(first)
    store = ProfileStore.create(path, state, bound_to=BOUND_TO, method=METHOD)
    store.append(["a"], {name: value[None] for name, value in state.items()})
    assert not torch.equal(logits(second.model), logits(first.model))
    second.load_task_state(store.read("a"))
    assert torch.equal(logits(second.model), logits(first.model))
