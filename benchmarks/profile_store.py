#!/usr/bin/env python3
"""Time to switch a model between the profiles of a store, compared with peft and with full checkpoints.

    python benchmarks/profile_store.py
    python benchmarks/profile_store.py --profiles 10,1000 --folder /fast/disk

X-PEFT profiles of MiniLM's shape: 6 layers, masks over N=100 adapters as bits (156 bytes), and a head of
384 x 2 + 2 in fp32. Weights, masks and heads are random, since only their sizes affect the times. A switch is
one read from the store and one `load_task_state`, of a random profile. The stores are timed in interleaved
order, so that other load on the machine affects all equally. All files are in the page cache.

Columns of the stores, one row for each number of profiles:
    bytes each  bytes of the file per profile
    append s    seconds to append all profiles, in batches of 10,000
    open ms     milliseconds to open the store
    check s     seconds to verify every profile
    read ms     median milliseconds to read one profile
    switch ms   median milliseconds of a switch, including the read
    p99         99th percentile of a switch

Columns of the alternatives: peft's LoRA r=8 on query and value of the same backbone, each adapter loaded from
its file and then set, and all weights from one safetensors file.
    KiB each    memory of an adapter, or size of the file with all weights
    median ms   milliseconds per adapter or file
    max         the slowest one

Columns of the batches in which each row belongs to another profile. They are read and computed in one pass
(mixed), in one switch and one pass per row, or as rows of a single profile. Each batch has new random
profiles.
    median ms   milliseconds per batch
    max         the slowest batch
    of mixed    median of the ratio to the mixed pass of the same batch

The result is PASS if the median switch of every store is under 1 ms, and that of the largest store less than
twice that of the smallest.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from peft import __version__ as peft_version
from safetensors.torch import load_file, save_file
from torch import Tensor

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import build_from_shape
from gluelamp.experiments.config import RunConfig
from gluelamp.methods.base import Adaptation, Method
from gluelamp.methods.xpeft import XPeft, selected_adapters
from gluelamp.profiles import ProfileStore
from gluelamp.training.stacked import Rows, StackedValues, values_from_states
from setting import compose_run, silence

OUTPUTS, BATCH, ADAPTERS = 2, 10_000, 200
MIXED_ROWS, MIXED_TOKENS, MIXED_PROFILES = 32, 32, 1000
MIXED, SOLO, SHARED = "a profile for each row", "a pass for each row", "one profile for all rows"
GOAL_MS, GOAL_GROWTH = 1.0, 2.0


@dataclass(frozen=True)
class Built:
    """A store on disk, and the times to write, open and check it.

    Args:
        store: the open store.
        append_s: seconds for all appends, in batches of 10,000.
        open_ms: milliseconds to open it.
        check_s: seconds to check every profile.
    """

    store: ProfileStore
    append_s: float
    open_ms: float
    check_s: float

    @property
    def bytes_each(self) -> float:
        """Bytes of the file for each profile."""
        return self.store.path.stat().st_size / len(self.store)


def compose_method(method: str) -> RunConfig:
    """Return the configuration of a run on MiniLM."""
    return compose_run(f"method={method}", "backbone=minilm", "task=cola", "data=sample")


def adapted(config: RunConfig) -> Adaptation:
    """Return the run's method on a random backbone, in evaluation mode."""
    torch.manual_seed(0)
    adaptation = config.method.adapt(build_from_shape(config.backbone, OUTPUTS, ATTENTION))
    adaptation.model.eval()
    return adaptation


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def random_states(method: XPeft, template: Mapping[str, Tensor], profiles: int) -> dict[str, Tensor]:
    """Return random states (profiles, *shape): masks that select k of N adapters, and a head."""
    adapters = method.num_adapters or 0  # never None without a trained bank

    def mask() -> Tensor:
        chosen = torch.rand(profiles, adapters).argsort(dim=1) < method.top_k
        return torch.from_numpy(np.packbits(chosen.numpy(), axis=1))

    return {
        name: mask() if value.dtype == torch.uint8 else torch.randn(profiles, *value.shape)
        for name, value in template.items()
    }


def build(folder: Path, profiles: int, method: Method, template: Mapping[str, Tensor]) -> Built:
    """Write a store of random profiles, with masks of an X-PEFT method, and open it again."""
    assert isinstance(method, XPeft)
    path = folder / f"{profiles}.profiles"
    store = ProfileStore.create(path, template, provenance={}, method={"name": "xpeft"})
    append_s = 0.0
    for start in range(0, profiles, BATCH):
        ids = [f"user-{number:07d}" for number in range(start, min(start + BATCH, profiles))]
        states = random_states(method, template, len(ids))
        append_s += seconds(partial(store.append, ids, states, [{"rows": 31}] * len(ids)))
    store.close()
    open_s = seconds(lambda: ProfileStore.open(path).close())
    store = ProfileStore.open(path)
    return Built(store, append_s, 1000 * open_s, seconds(store.problems))


def time_switches(
    built: Sequence[Built], adaptation: Adaptation, switches: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the milliseconds of reads and of switches, each (stores, switches)."""
    order, reads, totals = random.Random(0), [], []
    # In random order, since users do not arrive in the order of the file.
    ids = [order.choices(one.store.ids, k=100 + switches) for one in built]
    for number in range(100 + switches):  # the first 100 warm up
        for one, names in zip(built, ids, strict=True):
            start = time.perf_counter()
            state = one.store.read(names[number])
            read = time.perf_counter()
            adaptation.load_task_state(state)
            totals.append(1000 * (time.perf_counter() - start))
            reads.append(1000 * (read - start))
    shape = (100 + switches, len(built))
    return np.reshape(reads, shape)[100:].T, np.reshape(totals, shape)[100:].T


def time_peft(folder: Path, config: RunConfig) -> tuple[np.ndarray, np.ndarray, int]:
    """Return milliseconds to load and to set the 1st to the last adapter, and the bytes of one in memory."""
    torch.manual_seed(0)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], task_type="SEQ_CLS")
    model = get_peft_model(build_from_shape(config.backbone, OUTPUTS, ATTENTION), lora)
    model.save_pretrained(str(folder / "lora"))
    before = sum(value.nbytes for value in model.parameters())
    load, switch = [], []
    # The first and the last adapters are reported: the time may grow with the number in memory.
    for number in range(ADAPTERS):
        name = f"user{number}"
        load.append(1000 * seconds(partial(model.load_adapter, folder / "lora", name)))
        switch.append(1000 * seconds(partial(model.set_adapter, name)))
    grown = sum(value.nbytes for value in model.parameters()) - before
    return np.array(load), np.array(switch), grown // ADAPTERS


def time_checkpoint(folder: Path, config: RunConfig) -> tuple[np.ndarray, int]:
    """Return milliseconds to load a file with all weights into a model, and the file's bytes."""
    model = build_from_shape(config.backbone, OUTPUTS, ATTENTION)
    path = folder / "model.safetensors"
    save_file(model.state_dict(), path)
    times = [1000 * seconds(lambda: model.load_state_dict(load_file(path))) for _ in range(21)]
    return np.array(times[1:]), path.stat().st_size


def machine() -> str:
    """Return the hardware and the versions that the times depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {load}, "
        f"{torch.get_num_threads()} threads; Python {platform.python_version()}, torch {torch.__version__}, "
        f"SQLite {sqlite3.sqlite_version}, peft {peft_version}"
    )


def report_stores(built: Sequence[Built], reads: np.ndarray, switches: np.ndarray) -> None:
    """Print one row for each store."""
    print(
        f"{'profiles':>9s}{'bytes each':>12s}{'append s':>10s}{'open ms':>9s}{'check s':>9s}"
        f"{'read ms':>9s}{'switch ms':>11s}{'p99':>7s}"
    )
    for one, read, switch in zip(built, reads, switches, strict=True):
        print(
            f"{len(one.store):9,d}{one.bytes_each:12.1f}{one.append_s:10.2f}{one.open_ms:9.2f}{one.check_s:9.2f}"
            f"{np.median(read):9.3f}{np.median(switch):11.3f}{np.percentile(switch, 99):7.2f}"
        )


def time_summation(adaptation: Adaptation, times: int = 20) -> np.ndarray:
    """Return milliseconds to sum the selected adapters of all blocks: the first pass after a switch."""
    adapters = [change.adapter for change in selected_adapters(adaptation)]
    with torch.no_grad():
        return np.array(
            [1000 * seconds(lambda: [adapter.summed() for adapter in adapters]) for _ in range(times)]
        )


def report_peers(folder: Path, config: RunConfig) -> None:
    """Time peft and full checkpoints, and print one row each."""
    load, switch, grown = time_peft(folder, config)
    checkpoint, size = time_checkpoint(folder, config)
    last = f"{ADAPTERS - 9}st to {ADAPTERS}th"
    rows: dict[str, tuple[int, np.ndarray]] = {
        "peft, load_adapter + set_adapter, 1st to 10th": (grown, (load + switch)[:10]),
        f"peft, load_adapter + set_adapter, {last}": (grown, (load + switch)[-10:]),
        "peft, set_adapter alone, 1st to 10th in memory": (grown, switch[:10]),
        f"peft, set_adapter alone, {last} in memory": (grown, switch[-10:]),
        "all weights, load_file + load_state_dict": (size, checkpoint),
    }
    print(f"\n{'':50s}{'KiB each':>10s}{'median ms':>11s}{'max':>8s}")
    for name, (each, times) in rows.items():
        print(f"{name:50s}{each / 1024:10.1f}{np.median(times):11.2f}{times.max():8.2f}")


def batch_functions(
    store: ProfileStore, adaptation: Adaptation
) -> dict[str, Callable[[Sequence[str]], object]]:
    """Return the three ways to compute a batch of rows, given the profile of each row."""
    model, stacked = adaptation.model, StackedValues(adaptation)
    tokens = torch.randint(1000, 2000, (MIXED_ROWS, MIXED_TOKENS))
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    singles = [{name: value[row : row + 1] for name, value in inputs.items()} for row in range(MIXED_ROWS)]
    rows = Rows.from_owners(torch.arange(MIXED_ROWS), MIXED_ROWS)

    def mixed(names: Sequence[str]) -> None:
        with stacked.rows(values_from_states(adaptation, store.read_many(names)), rows):
            model(**inputs)

    def solo(names: Sequence[str]) -> None:
        for name, single in zip(names, singles, strict=True):
            adaptation.load_task_state(store.read(name))
            model(**single)

    def shared(names: Sequence[str]) -> None:
        adaptation.load_task_state(store.read(names[0]))
        model(**inputs)

    return {MIXED: mixed, SOLO: solo, SHARED: shared}


@torch.no_grad()
def report_mixed(folder: Path, batches: int) -> None:
    """Time batches of mixed profiles for two methods, interleaved, and print one row each."""
    masks, order = compose_method("xpeft").method, random.Random(0)
    size = f"{MIXED_ROWS} rows of {MIXED_TOKENS} tokens"
    print(f"\n{f'Batches of {size}':50s}{'median ms':>11s}{'max':>8s}{'of mixed':>10s}")
    for method in ("xpeft", "lora"):
        adaptation = adapted(compose_method(method))
        store = build(folder / method, MIXED_PROFILES, masks, adaptation.task_state()).store
        functions = batch_functions(store, adaptation)
        times: dict[str, list[float]] = {way: [] for way in functions}
        for _ in range(2 + batches):  # the first two warm up
            names = order.sample(store.ids, MIXED_ROWS)
            for way, function in functions.items():
                times[way].append(1000 * seconds(partial(function, names)))
        base = np.array(times[MIXED][2:])
        for way, values in times.items():
            counted = np.array(values[2:])
            ratio = np.median(counted / base)
            print(f"{f'{method}, {way}':50s}{np.median(counted):11.1f}{counted.max():8.1f}{ratio:9.2f}x")


def main() -> int:
    """Build the stores, time switches and the alternatives, and print the tables and PASS or FAIL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profiles", default="10,1000,100000,1000000", help="numbers of profiles")
    parser.add_argument("--folder", help="folder for the files, 3.5 KB per profile; temporary by default")
    parser.add_argument("--switches", type=int, default=2000, help="switches of each store")
    parser.add_argument("--batches", type=int, default=20, help="batches of mixed profiles for each method")
    arguments = parser.parse_args()
    silence()
    config = compose_method("xpeft")
    adaptation = adapted(config)
    template = adaptation.task_state()
    sizes = sorted(int(size) for size in arguments.profiles.split(","))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        built = [build(Path(name), size, config.method, template) for size in sizes]
        reads, switches = time_switches(built, adaptation, arguments.switches)
        print(machine())
        report_stores(built, reads, switches)
        summation = np.median(time_summation(adaptation))
        print(f"The first pass after a switch also sums the selected adapters: {summation:.2f} ms.")
        report_peers(Path(name), config)
        report_mixed(Path(name), arguments.batches)
    medians = np.median(switches, axis=1)
    growth = medians[-1] / medians[0]
    passed = bool(medians.max() < GOAL_MS and growth < GOAL_GROWTH)
    print(
        f"\nSwitch under {GOAL_MS:g} ms, and the largest store's below {GOAL_GROWTH:g}x the smallest's: ",
        end="",
    )
    print(f"{medians.max():.3f} ms, {growth:.2f}x. {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
