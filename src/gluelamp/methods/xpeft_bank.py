"""The given adapters of X-PEFT: random ones from a seed, or adapters that other profiles trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path

import torch
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.methods.storage import content_hash
from gluelamp.profiles import ProfileStore

# A few values of a random bank are part of its seed specification. If another version of torch generates
# other random numbers, the specification differs and a task state is refused.
_CHECKED_VALUES = 4


@dataclass(frozen=True)
class Bank:
    """The N given adapters of one block.

    Args:
        down: down-projections (N, b, d).
        up: up-projections (N, d, b); None if the down-projections, transposed, also project up.
        down_bias: (N, b); None if all are zero.
        up_bias: (N, d); None if all are zero.
        seed_specification: of a random bank, the few numbers from which it can be generated again; empty for
            a trained bank.
    """

    down: Tensor
    up: Tensor | None
    down_bias: Tensor | None = None
    up_bias: Tensor | None = None
    seed_specification: Mapping[str, Tensor] = field(default_factory=dict)


def random_banks(
    seed: int, std: float, shape: tuple[int, int, int], blocks: int, shared: bool, device: torch.device
) -> list[Bank]:
    """Return random banks for all blocks, without biases; equal arguments give equal banks.

    Args:
        seed: of the generator, which is on the CPU, so that every device has the same bank.
        std: standard deviation of all entries.
        shape: N, b, d.
        blocks: L.
        shared: whether one pool serves down and up.
        device: of the banks; on ``meta`` no values are generated.
    """
    count, bottleneck, width = shape
    shapes = [shape] if shared else [shape, (count, width, bottleneck)]
    # One generator for all blocks in order: down, then up, block by block.
    generator = torch.Generator().manual_seed(seed)

    def generate(size: tuple[int, int, int]) -> Tensor:
        if device.type == "meta":
            return torch.empty(size, device=device)
        values = torch.empty(size, device="cpu").normal_(0, std, generator=generator)
        return values.to(device)

    banks = [[generate(size) for size in shapes] for _ in range(blocks)]
    specification = {
        "bank.seed": torch.tensor(seed),
        "bank.std": torch.tensor(std, dtype=torch.float64),
        "bank.shape": torch.tensor([len(shapes), *shape]),
        "bank.beginning": banks[0][0].flatten()[:_CHECKED_VALUES].bfloat16(),
    }
    return [Bank(pools[0], None if shared else pools[1], seed_specification=specification) for pools in banks]


def trained_banks(
    path: str, places: Sequence[str], bottleneck: int, width: int, biases: bool, device: torch.device
) -> list[Bank]:
    """Read the Pfeiffer adapters of a store's profiles, in the store's order; heads are left out.

    Args:
        path: of the profile store.
        places: of each block, the path of the part with its adapter.
        bottleneck: b that is expected.
        width: d that is expected.
        biases: whether the adapters' biases are read.
        device: of the banks.

    Raises:
        InputError: if the store is missing, or has other adapters than this backbone needs.
    """
    # The default device is meta when parameters are counted.
    with torch.device("cpu"):
        store = _open(path)
        _check(path, store.layout, places, bottleneck, width)
        stacked = store.read_many(store.ids)

    def read(place: str, value: str) -> Tensor:
        return stacked[f"{place}.adapter.{value}"].to(device, torch.float32)

    return [
        Bank(
            read(place, "down.weight"),
            read(place, "up.weight"),
            read(place, "down.bias") if biases else None,
            read(place, "up.bias") if biases else None,
        )
        for place in places
    ]


def bank_checksum(path: str, backbone: str) -> str:
    """Return the checksum of a store's profiles.

    Args:
        path: of the profile store.
        backbone: checksum of the backbone's weights.

    Raises:
        InputError: if the store is missing or belongs to another backbone.
    """
    store = _open(path)
    trained_on = store.provenance.get("backbone")
    if trained_on != backbone:
        raise InputError(
            f"method.bank={path!r} was trained on another backbone: its checksum there is "
            f"{trained_on or 'none'}, here it is {backbone}. Take a bank of this backbone."
        )
    # Of the values: a copy of the store in another folder is the same bank.
    return content_hash(store.read_many(store.ids))


def _open(path: str) -> ProfileStore:
    found = sorted(glob(path))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if len(found) != 1:
        raise InputError(
            f"method.bank={path!r} is not one profile store: it matches {', '.join(found) or 'no file'}. "
            "Name one file, such as the last.profiles of a run with method=pfeiffer task.profiles=per_user. "
            "A * in the path matches any text."
        )
    store = ProfileStore.open(Path(found[0]))
    if problems := store.problems():
        raise InputError(f"method.bank={path!r} is damaged: {problems[0]} Copy the file again.")
    if not store.ids:
        raise InputError(f"method.bank={path!r} holds no profile. Take a store with trained profiles.")
    return store


def _check(
    path: str, layout: Mapping[str, Tensor], places: Sequence[str], bottleneck: int, width: int
) -> None:
    end = ".adapter.down.weight"
    stored = [name.removesuffix(end) for name in layout if name.endswith(end)]
    if sorted(stored) != sorted(places):
        wrong = min(set(stored) ^ set(places))
        raise InputError(
            f"method.bank={path!r} does not hold one Pfeiffer adapter for each block of this backbone: "
            f"it holds {len(stored)}, {len(places)} are needed, and {wrong!r} is in one of both only. "
            "Take a store of profiles that method=pfeiffer trained on this backbone."
        )
    b, d = layout[places[0] + end].shape
    if (b, d) != (bottleneck, width):
        raise InputError(
            f"method.bank={path!r} holds adapters with hidden size {d} and bottleneck {b}; this backbone "
            f"and method.reduction_factor need {width} and {bottleneck}. Take the backbone and the "
            "reduction factor of the bank's own training."
        )
