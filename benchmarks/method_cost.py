#!/usr/bin/env python3
"""What a training step of each method costs beside one of LoRA r=8, in time and in memory.

    python benchmarks/method_cost.py --data ../data/glue
    python benchmarks/method_cost.py --methods houlsby,full --rounds 5

MiniLM, batches of 32 rows of CoLA (the bundled sample's without --data), the suite's own trainer. All
methods stand side by side (in about 5 GB) and take turns, in an order drawn anew each round, at the same
batches. What counts is the ratio to LoRA's turn of the same round: the median, with a 95 % bootstrap
interval. What a method learns before its own training is timed apart, as a phase. Peak memory is that of
a process of its own, at the longest batch, less what it held before there was a model.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.first_token import first_token_only
from gluelamp.backbones.load import Checkpoint, find_checkpoint, load_model, load_tokenizer
from gluelamp.cli.app import CONFIGS
from gluelamp.experiments.config import RunConfig
from gluelamp.hardware import choose_device, peak_memory, reset_peak_memory, synchronize
from gluelamp.measurement.latency import ratio_to_base
from gluelamp.methods.base import Method
from gluelamp.methods.phases import ScoringPhase, TrainingPhase, adapt_untrained
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.tasks.glue import glue_task
from gluelamp.training.batches import training_order
from gluelamp.training.phases import squared_gradients
from gluelamp.training.profile import Profile, Rates
from gluelamp.training.trainer import Trainer
from setting import compose_run, own_processes, silence

TASK, BASE, BATCH, MIB = glue_task("cola"), "lora", 32, 2**20
GOAL = 2.0
NEEDS_MORE = {
    "adamix": (3.0, "two passes, whose outputs under other routing and dropout are compared"),
    "dyt": (3.0, "two passes, with drawn masks and with every token active"),
    "full": (3.0, "gradients and optimiser of all weights, the embeddings among them"),
    "lt_sft, first: full fine-tuning": (3.0, "as full"),
    "diff_pruning, first: gated differences": (16.0, "draws a gate for each weight; trains both"),
    "fish, first: fisher": (32.0, "as many passes as examples: single gradients are squared"),
    "spt_adapter, first: sensitivity": (8.0, "gradients of all weights in fp32, rows of unlike lengths"),
    "spt_lora, first: sensitivity": (8.0, "as spt_adapter"),
}
"""Limits of those whose definition needs more than the goal, with the reason."""

Batches = Sequence[np.ndarray]
Turn = Callable[[Batches], None]


@dataclass(frozen=True)
class Setting:
    """What all contenders share.

    Args:
        checkpoint: of the backbone.
        rows: to train on.
        data: folder of local data; the bundled sample if None.
    """

    checkpoint: Checkpoint
    rows: EncodedSplit
    data: str | None

    def model(self) -> transformers.PreTrainedModel:
        """Return the bare model, always with the same head."""
        torch.manual_seed(0)
        return load_model(self.checkpoint, TASK.num_outputs, ATTENTION)


@dataclass(frozen=True)
class Contender:
    """What takes turns: a method's own training, or one of its phases.

    Args:
        leaf: of the method.
        make: returns what takes one step for each batch; the stack holds it together.
        steps: of a phase, in one run over all rows; None for a method's own training.
    """

    leaf: str
    make: Callable[[ExitStack], Turn]
    steps: int | None = None


def run_of(leaf: str, data: str | None) -> RunConfig:
    """Return the configuration of a method's run."""
    source = ["data=sample"] if data is None else ["data=local", f"data.root={data}"]
    return compose_run(f"method={leaf}", f"task={TASK.name}", f"trainer.batch_size={BATCH}", *source)


def prepare(data: str | None) -> Setting:
    """Find the backbone and encode the rows."""
    config = run_of(BASE, data)
    checkpoint = find_checkpoint(config.backbone)
    rows = load_task_data(TASK, config.data).splits["train"]
    tokenizer = load_tokenizer(checkpoint)
    return Setting(checkpoint, encode(rows, TASK, tokenizer, config.trainer.max_length), data)


def contenders(leaf: str, setting: Setting) -> dict[str, Contender]:
    """Return a method's own training and each of its phases, by name."""
    config = run_of(leaf, setting.data)
    found = {leaf: Contender(leaf, partial(training, config.method, config, setting))}
    for phase in config.method.phases():
        if isinstance(phase, TrainingPhase):
            steps = phase.epochs * -(-len(setting.rows) // BATCH)
            make = partial(training, phase.method, config, setting)
        else:
            steps = -(-phase.examples // BATCH)
            make = partial(scoring, phase, config, setting)
        found[f"{leaf}, first: {phase.label}"] = Contender(leaf, make, steps)
    return found


def training(method: Method, config: RunConfig, setting: Setting, stack: ExitStack) -> Turn:
    """Return steps of the trainer; phases before them are taken as done, and as having learnt nothing."""
    adaptation = adapt_untrained(method, setting.model())
    rate = config.trainer.learning_rate
    rates = Rates(rate, config.trainer.head_learning_rate or rate)
    profile = Profile(setting.rows, {}, rates, 0, Path())
    trainer = Trainer(adaptation, TASK, [profile], config.trainer, 0, Path(), {})
    trainer.model.train()
    if not adaptation.needs_every_token:
        stack.enter_context(first_token_only(trainer.model))

    def turn(batches: Batches) -> None:
        for examples in batches:
            (loss,) = trainer.passes.backward(trainer.states, [examples])
            trainer.states[0].step(examples, loss)
            trainer.passes.sync_weights()

    return turn


def scoring(phase: ScoringPhase, config: RunConfig, setting: Setting, _: ExitStack) -> Turn:
    """Return scorings of as many rows as are in a batch."""
    adaptation = phase.method.adapt(setting.model())
    adaptation.model.to(choose_device(config.trainer.device))

    def turn(batches: Batches) -> None:
        for examples in batches:
            few = replace(phase, examples=len(examples))
            squared_gradients(few, adaptation, TASK, setting.rows, int(examples[0]))

    return turn


def endless_batches(setting: Setting, window: int) -> Iterator[np.ndarray]:
    """Yield the batches of one epoch after the other."""
    for epoch in count():
        yield from training_order(setting.rows.lengths, BATCH, window, 0, epoch)


def time_in_turns(
    known: Mapping[str, Contender],
    setting: Setting,
    rounds: int,
    steps: int,
    clock: Callable[[], float],
) -> dict[str, np.ndarray]:
    """Return each contender's milliseconds a step in each round, (rounds,); the first is not counted."""
    config = run_of(BASE, setting.data).trainer
    device, order = choose_device(config.device), random.Random(0)
    batches = endless_batches(setting, config.bucket_batches)
    times: dict[str, list[float]] = {name: [] for name in known}
    with ExitStack() as stack:
        turns = {name: contender.make(stack) for name, contender in known.items()}
        for _ in range(1 + rounds):
            given = list(islice(batches, steps))
            for name in order.sample(list(turns), len(turns)):
                synchronize(device)
                start = clock()
                turns[name](given)
                synchronize(device)
                times[name].append(1000 * (clock() - start) / steps)
    return {name: np.array(values[1:]) for name, values in times.items()}


def peak_bytes(leaf: str, name: str, setting: Setting) -> int:
    """Return the peak memory of a contender's steps, less what this process held before its model."""
    device = choose_device(run_of(leaf, setting.data).trainer.device)
    longest = np.argsort(-setting.rows.lengths, kind="stable")[:BATCH]
    reset_peak_memory(device)
    before = int(peak_memory(device)["peak_bytes"])
    with ExitStack() as stack:
        turn = contenders(leaf, setting)[name].make(stack)
        reset_peak_memory(device)
        turn([longest] * 3)  # the optimiser's state comes with the first step
        return int(peak_memory(device)["peak_bytes"]) - before


def peaks(known: Mapping[str, Contender], setting: Setting) -> dict[str, int]:
    """Return the peak memory in bytes of each contender, each in a process of its own."""
    with own_processes() as pool:
        running = {name: pool.submit(peak_bytes, one.leaf, name, setting) for name, one in known.items()}
        return {name: future.result() for name, future in running.items()}


def report(
    known: Mapping[str, Contender], times: Mapping[str, np.ndarray], memory: Mapping[str, int]
) -> bool:
    """Print the tables; return whether every contender keeps its limit."""
    passed = True
    ratios = {name: ratio_to_base(times[name], times[BASE]) for name in known}
    print(f"{'':40s}{'ms/step':>9s}{'of lora':>9s}{'95 %':>15s}{'limit':>7s}{'MiB':>8s}{'of lora':>9s}")
    for name, ratio in ratios.items():
        limit = NEEDS_MORE.get(name, (GOAL, ""))[0]
        kept = ratio["ratio_to_base"] <= limit
        passed &= kept
        interval = f"[{ratio['ratio_low']:.2f}, {ratio['ratio_high']:.2f}]"
        print(
            f"{name:40s}{np.median(times[name]):9.1f}{ratio['ratio_to_base']:8.2f}x{interval:>15s}"
            f"{limit:6.1f}x{memory[name] / MIB:8.0f}{memory[name] / memory[BASE]:8.2f}x"
            f"{'' if kept else '  FAIL'}"
        )
    phases = {
        name: f"{one.steps:6d} steps, as long as {one.steps * ratios[name]['ratio_to_base']:6.0f} of lora: "
        f"{one.steps * np.median(times[name]) / 1000:.0f} s here"
        for name, one in known.items()
        if one.steps is not None
    }
    reasons = {name: reason for name, (_, reason) in NEEDS_MORE.items() if name in known}
    print_lines("Phases, in a run over all rows", phases)
    print_lines("More than the goal, by definition", reasons)
    return passed


def print_lines(title: str, lines: Mapping[str, str]) -> None:
    """Print a titled list, unless it is empty."""
    if lines:
        print(f"\n{title}:")
    for name, line in lines.items():
        print(f"{name:40s}{line}")


def main() -> int:
    """Time all contenders in turn, measure their memory, print the tables, and say PASS or FAIL."""
    leaves = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder with cola/train.jsonl or .parquet")
    parser.add_argument("--methods", default=",".join(leaves), help="leaves of configs/method; all of them")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4, help="of each in a round")
    parser.add_argument(
        "--processor-time", action="store_true", help="not the clock's: for a busy machine without a GPU"
    )
    arguments = parser.parse_args()
    chosen = arguments.methods.split(",")
    if wrong := sorted(set(chosen) - set(leaves)):
        parser.error(f"--methods={','.join(wrong)} is not known; known: {', '.join(leaves)}")
    silence()
    setting = prepare(arguments.data)
    known: dict[str, Contender] = {}
    for leaf in dict.fromkeys([BASE, *chosen]):
        known |= contenders(leaf, setting)
    memory = peaks(known, setting)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    times = time_in_turns(known, setting, arguments.rounds, arguments.steps, clock)
    turns = f"{arguments.rounds} rounds of {arguments.steps} steps"
    print(f"batch {BATCH} of {len(setting.rows)} rows, {torch.get_num_threads()} threads, {turns}")
    passed = report(known, times, memory)
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
