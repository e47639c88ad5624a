#!/usr/bin/env python3
"""Profiles per minute: LoRA r=8 for each of many users, trained together, one by one, and with peft.

    python benchmarks/profiles.py
    python benchmarks/profiles.py --data ../data/lamp --rounds 5

MiniLM, 20 texts per profile (of the bundled sample of LaMP-2N without --data), 10 epochs, batches of 16, and
the same learning rate and dropout for all. The reference works as the scripts of LaMP do: for each user it
loads the backbone, adds an adapter of peft and runs Hugging Face Trainer, as commonly used (fp32, dynamic
padding) and at its fastest (bf16). A whole run is timed: loading, training and saving. gluelamp also writes
its checkpoint and evaluates one row. All contenders run in interleaved rounds, in a new random order in each
round.

Columns of the times:
    s/profile  median over the rounds of the seconds per profile
    min, max   the fastest and the slowest round
    per min    profiles per minute, from the median
    bound s    seconds of a profile's matrix products without padding, at the measured rate of one large
               matrix product. On a busy machine this rate is too low, and the bound too high.
    reached    the bound as a percentage of the median

Below the table, each speedup is the median over the rounds of the ratio within a round. The result is PASS if
all speedups reach their goals. A profiler then measures the fraction of time in matrix products, which limits
what any other optimisation can gain.

Columns of the memory:
    MiB        peak memory of one epoch minus the memory in use before, measured in a separate process
    MiB for each more profile    growth per profile from the row above
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.first_token import first_token_only
from gluelamp.backbones.load import Checkpoint, find_checkpoint, load_model, load_tokenizer
from gluelamp.experiments.config import RunConfig
from gluelamp.hardware import choose_device, matmul_rate, peak_memory, reset_peak_memory, synchronize
from gluelamp.methods.base import Adaptation
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import EncodedSplit, concatenated, encode
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.training.batches import collate
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import Trainer
from peer import peer_trainer
from setting import compose_run, own_processes, silence

TASK, TEXTS, EPOCHS, BATCH, RATE, LENGTH, MIB = LAMP["lamp2n"], 20, 10, 16, 1e-3, 128, 2**20
PEER, PEER_BF16 = "Hugging Face Trainer + peft, fp32", "Hugging Face Trainer + peft, bf16"
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
ALONE = "gluelamp, one by one, bf16"
FP32_PROFILES = 32  # number of profiles that are trained together in fp32

Precision = Literal["bf16", "fp32"]
TrainProfiles = Callable[[Sequence[EncodedSplit]], None]


@dataclass(frozen=True)
class Setting:
    """The setting of all contenders.

    Args:
        config: the configuration of a run of gluelamp.
        checkpoint: checkpoint of the backbone.
        profiles: the rows of each user.
        words: mean number of words per text.
    """

    config: RunConfig
    checkpoint: Checkpoint
    profiles: list[EncodedSplit]
    words: float

    @property
    def device(self) -> torch.device:
        """The device of all contenders."""
        return choose_device(self.config.trainer.device)

    def subset(self, count: int) -> list[EncodedSplit]:
        """Return evenly spaced profiles, since the first profiles are of users with many texts."""
        return [self.profiles[int(index)] for index in np.linspace(0, len(self.profiles) - 1, count)]

    def adaptation(self) -> Adaptation:
        """Return a new adaptation; its initial values are the same in every call."""
        torch.manual_seed(0)
        return self.config.method.adapt(load_model(self.checkpoint, TASK.num_outputs, ATTENTION))


@dataclass(frozen=True)
class Contender:
    """A timed way to train profiles.

    Args:
        train: trains the given profiles.
        profiles: number of profiles per round.
        dtype: number format of the passes.
    """

    train: TrainProfiles
    profiles: int
    dtype: torch.dtype


class TrainerAlone(Trainer):
    """The trainer without its own measurement of speed after training, which also takes time."""

    def _speed(self) -> dict[str, Any]:
        return {}


def prepare(data: str | None, profiles: int) -> Setting:
    """Sample and encode the texts. If there are fewer users than profiles, users are sampled repeatedly."""
    source = ["data=sample"] if data is None else ["data=local", f"data.root={data}"]
    options = {
        **{"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE, "max_length": LENGTH},
        **{"warmup_ratio": 0.0, "eval_steps": 10**6},  # as the reference; only the last evaluation
    }
    overrides = [f"trainer.{name}={value}" for name, value in options.items()]
    config = compose_run("method=lora", f"task={TASK.name}", *source, *overrides)
    checkpoint = find_checkpoint(config.backbone)
    rows = pd.concat(load_task_data(TASK, config.data).splits.values())
    counts = rows["user"].value_counts()
    users = [rows[rows["user"] == user] for user in counts.index[counts >= TEXTS]]
    texts = [
        users[number % len(users)].sample(TEXTS, random_state=number).assign(user=f"profile {number}")
        for number in range(profiles)
    ]
    split = encode(pd.concat(texts), TASK, load_tokenizer(checkpoint), LENGTH)
    words = float(pd.concat(texts)["text"].str.split().str.len().mean())
    return Setting(config, checkpoint, [split.user_rows(f"profile {n}") for n in range(profiles)], words)


def train_together(setting: Setting, precision: Precision, splits: Sequence[EncodedSplit]) -> None:
    """Train the profiles together in one run of gluelamp."""
    adaptation = setting.adaptation()
    one_row = replace(splits[0], users=np.array(["first", *["other"] * (TEXTS - 1)], object)).user_rows(
        "first"
    )
    config = replace(setting.config.trainer, precision=precision)
    provenance = {"backbone": setting.checkpoint.checksum, "shared": ""}
    with tempfile.TemporaryDirectory() as folder:
        profiles = [
            Profile(split, {"validation": one_row}, Rates(RATE, RATE), number, Path(folder, str(number)))
            for number, split in enumerate(splits)
        ]
        for profile in profiles:
            profile.folder.mkdir()
        TrainerAlone(adaptation, TASK, profiles, config, 0, Path(folder), provenance).run()


def train_one_by_one(setting: Setting, precision: Precision, splits: Sequence[EncodedSplit]) -> None:
    """Train the profiles in separate runs of gluelamp."""
    for split in splits:
        train_together(setting, precision, [split])


def train_peer(setting: Setting, bf16: bool, splits: Sequence[EncodedSplit]) -> None:
    """Train the profiles as the scripts of LaMP do."""
    options = {"per_device_train_batch_size": BATCH, "num_train_epochs": EPOCHS, "learning_rate": RATE}
    for split in splits:
        with tempfile.TemporaryDirectory() as folder:
            trainer = peer_trainer(
                setting.checkpoint, TASK.num_outputs, split, folder, setting.device, bf16=bf16, **options
            )
            trainer.train()
            trainer.save_model(folder)


def contenders(setting: Setting, together: Sequence[int], single: int) -> dict[str, Contender]:
    """Return all contenders by name."""
    bf16, fp32 = torch.bfloat16, torch.float32
    entries = {
        PEER: Contender(partial(train_peer, setting, False), single, fp32),
        PEER_BF16: Contender(partial(train_peer, setting, True), single, bf16),
        ALONE: Contender(partial(train_one_by_one, setting, "bf16"), single, bf16),
    }
    for size in together:
        entries[together_name(size)] = Contender(partial(train_together, setting, "bf16"), size, bf16)
    in_fp32 = min(FP32_PROFILES, max(together))
    entries[together_name(in_fp32, "fp32")] = Contender(
        partial(train_together, setting, "fp32"), in_fp32, fp32
    )
    return entries


def together_name(size: int, precision: str = "bf16") -> str:
    """Return the name of profiles that are trained together."""
    return f"gluelamp, {size} together, {precision}"


def time_interleaved(
    timed: Mapping[str, Contender], setting: Setting, rounds: int, clock: Callable[[], float]
) -> dict[str, np.ndarray]:
    """Return the seconds per profile of each contender in each round, (rounds,)."""
    order = random.Random(0)
    for contender in timed.values():
        contender.train(setting.subset(min(2, contender.profiles)))  # warm-up
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name in order.sample(list(timed), len(timed)):
            contender = timed[name]
            synchronize(setting.device)
            start = clock()
            contender.train(setting.subset(contender.profiles))
            synchronize(setting.device)
            times[name].append((clock() - start) / contender.profiles)
    return {name: np.array(values) for name, values in times.items()}


def flops_per_profile(setting: Setting) -> float:
    """Return the FLOPs of a profile's matrix products, without padding."""
    adaptation, split = setting.adaptation(), concatenated(setting.subset(8))
    model = adaptation.model.to(setting.device).train()  # type: ignore[arg-type]
    with first_token_only(model), FlopCounterMode(display=False) as counter:
        for row in range(len(split)):
            inputs, _ = collate(split, np.array([row]), setting.device)
            model(**inputs).logits.sum().backward()
    return float(counter.get_total_flops() / len(split) * TEXTS * EPOCHS)


def fraction_of_products(setting: Setting, size: int) -> float:
    """Return the fraction of time in matrix products, over two epochs of several profiles."""
    # Two epochs are enough, and keep the trace small.
    short = replace(
        setting, config=replace(setting.config, trainer=replace(setting.config.trainer, epochs=2))
    )
    with torch.profiler.profile() as profiler:
        train_together(short, "bf16", setting.profiles[:size])
    on_gpu = setting.device.type == "cuda"
    times = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    return sum(times.get(product, 0) for product in PRODUCTS) / sum(times.values())


def report_products(setting: Setting, sizes: Sequence[int], times: Mapping[str, np.ndarray]) -> None:
    """Print the fraction of time in matrix products, and the speedup if nothing else took time."""
    size = max(sizes)
    fraction = fraction_of_products(setting, size)
    ratio = float(np.median(times[PEER] / times[together_name(size)]))
    print(
        f"\nMatrix products take {fraction:.0%} of the time of {size} together, bf16. If everything else "
        f"took no time, the speed would be {ratio / fraction:.2f}x of {PEER}"
    )


def peak_bytes(setting: Setting, size: int) -> int:
    """Return the peak memory of one epoch of several profiles minus the memory in use before."""
    once = replace(setting.config, trainer=replace(setting.config.trainer, epochs=1))
    reset_peak_memory(setting.device)
    before = int(peak_memory(setting.device)["peak_bytes"])
    train_together(replace(setting, config=once), "bf16", setting.profiles[:size])
    return int(peak_memory(setting.device)["peak_bytes"]) - before


def report_memory(setting: Setting, sizes: Sequence[int]) -> None:
    """Print the growth of peak memory with the number of profiles, and the memory of one profile's values."""
    with own_processes() as pool:
        peaks = [pool.submit(peak_bytes, setting, size).result() for size in sizes]
    adaptation = setting.adaptation()
    values = sum(value.numel() for value in (adaptation.trainable | adaptation.head).values())
    backbone = sum(value.numel() for value in adaptation.model.parameters()) - values
    # Values, gradients and two moments of AdamW, of four bytes each.
    state_bytes = 4 * 4 * values
    print(f"\n{'Peak memory':20s}{'MiB':>8s}{'MiB for each more profile':>30s}")
    last = None
    for size, peak in zip(sizes, peaks, strict=True):
        more = f"{(peak - last[1]) / (size - last[0]) / MIB:30.2f}" if last else ""
        print(f"{f'{size} together':20s}{peak / MIB:8.0f}{more}")
        last = size, peak
    print(
        f"A profile's values, gradients and two moments in fp32 are {state_bytes / MIB:.2f} MiB. "
        f"The backbone in bf16 is {2 * backbone / MIB:.1f} MiB. "
        "Activations grow up to trainer.pass_tokens, not beyond."
    )


def report(
    timed: Mapping[str, Contender], times: Mapping[str, np.ndarray], bounds: Mapping[torch.dtype, float]
) -> bool:
    """Print the table and the goals; return whether all are met."""
    print(f"{'':38s}{'s/profile':>10s}{'min':>8s}{'max':>8s}{'per min':>10s}{'bound s':>9s}{'reached':>9s}")
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    for name, median in medians.items():
        bound, seconds = bounds[timed[name].dtype], times[name]
        print(
            f"{name:38s}{median:10.3f}{seconds.min():8.3f}{seconds.max():8.3f}{60 / median:10.1f}"
            f"{bound:9.3f}{bound / median:9.0%}"
        )
    together = [name for name in timed if "together, bf16" in name]
    best = min(together, key=medians.__getitem__)
    in_fp32 = next(name for name in timed if "together, fp32" in name)
    # The last comparison has no goal: what training together gains over training one by one.
    passed = True
    print()
    for name, peer, goal in (
        (best, PEER, 4.0),
        (best, PEER_BF16, 2.5),
        (in_fp32, PEER, 1.7),
        (best, ALONE, 0),
    ):
        ratio = float(np.median(times[peer] / times[name]))
        passed &= ratio >= goal
        print(f"{name} is {ratio:.2f}x of {peer}{f'; goal {goal:g}x' if goal else ''}")
    return passed


def main() -> int:
    """Time all contenders, print the tables and the result, PASS or FAIL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder with LaMP_2 of LaMP-2N, or a prepared copy")
    parser.add_argument("--together", default="1,8,32,128", help="profiles in one run")
    parser.add_argument(
        "--profiles", type=int, default=6, help="profiles per round of the contenders that train one by one"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="time the processor instead of the wall clock: for a busy machine without a GPU",
    )
    arguments = parser.parse_args()
    silence()
    together = sorted(int(size) for size in arguments.together.split(","))
    setting = prepare(arguments.data, max(*together, arguments.profiles))
    timed = contenders(setting, together, arguments.profiles)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    processors = torch.get_num_threads() if arguments.processor_time else 1
    times = time_interleaved(timed, setting, arguments.rounds, clock)
    operations = flops_per_profile(setting)
    rates = {dtype: matmul_rate(setting.device, dtype) for dtype in (torch.bfloat16, torch.float32)}
    tokens = np.mean([split.lengths.mean() for split in setting.profiles])
    print(
        f"{TEXTS} texts of {setting.words:.0f} words ({tokens:.0f} tokens) per profile, {EPOCHS} epochs, "
        f"batch {BATCH}, {setting.device}, {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    )
    print(
        f"{operations / 1e9:.0f} GFLOP per profile; matrix products on this machine reach "
        + ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {str(dtype)[6:]}" for dtype, rate in rates.items())
    )
    passed = report(timed, times, {dtype: operations * processors / rate for dtype, rate in rates.items()})
    report_products(setting, together, times)
    sizes = [size for size in together if size > 1]  # a single profile is not stacked
    if len(sizes) > 1:
        report_memory(setting, sizes)
    print("\nPASS" if passed else "\nFAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
