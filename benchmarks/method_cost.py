#!/usr/bin/env python3
"""Time and memory of a training step of each method, compared with LoRA r=8.

    python benchmarks/method_cost.py --data ../data/glue
    python benchmarks/method_cost.py --methods houlsby,full --rounds 5

Every method trains MiniLM with the trainer of the suite, on batches of 32 rows of CoLA (of the bundled sample
without --data). All methods are in memory at the same time (about 5 GB). They run in interleaved rounds, in a
new random order in each round, on the same batches. A preliminary phase of a method is a row of its own,
because it is timed separately.

Columns:
    ms/step    median milliseconds of a training step (in a scoring phase: of scoring one batch)
    of lora    median over the rounds of the ratio to LoRA's time in the same round
    95 %       bootstrap interval of this ratio
    limit      the largest ratio that passes: 2, or the larger limit of a method that needs more by definition
    MiB        peak memory of a step at the longest batch, minus the memory in use before the model is loaded,
               measured in a separate process
    of lora    ratio of the memory to LoRA's

The result is PASS if no ratio of times is above its limit.
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
from gluelamp.experiments.config import RunConfig
from gluelamp.hardware import choose_device, peak_memory, reset_peak_memory, synchronize
from gluelamp.measurement.latency import ratio_to_base
from gluelamp.methods.base import Method
from gluelamp.methods.phases import ScoringPhase, TrainingPhase, adapt_untrained
from gluelamp.package_data import CONFIGS
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.training.batches import training_order
from gluelamp.training.phase_runner import squared_gradients
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import Trainer
from setting import compose_run, own_processes, silence

TASK, BASE, BATCH, MIB = known_task("cola"), "lora", 32, 2**20
# The largest ratio of a step's time to LoRA's.
GOAL = 2.0
NEEDS_MORE = {
    "adamix": (3.0, "two passes, whose outputs under other routing and dropout are compared"),
    "dyt": (3.0, "two passes, with sampled masks and with every token active"),
    "full": (3.0, "gradients and optimiser state of all weights, including the embeddings"),
    "lt_sft, phase: full fine-tuning": (3.0, "as full"),
    "diff_pruning, phase: gated differences": (16.0, "samples a gate for each weight; trains both"),
    "fish, phase: fisher": (32.0, "one pass per example, since the gradient of each example is squared"),
    "spt_adapter, phase: sensitivity": (
        8.0,
        "gradients of all weights in fp32, on rows of different lengths",
    ),
    "spt_lora, phase: sensitivity": (8.0, "as spt_adapter"),
}
"""Limits of the ratio for methods whose definition needs more than the goal, with the reason."""

Batches = Sequence[np.ndarray]
TrainBatches = Callable[[Batches], None]


@dataclass(frozen=True)
class Setting:
    """The setting of all contenders.

    Args:
        checkpoint: checkpoint of the backbone.
        rows: training rows.
        data: folder of local data; the bundled sample if None.
    """

    checkpoint: Checkpoint
    rows: EncodedSplit
    data: str | None

    def model(self) -> transformers.PreTrainedModel:
        """Return the bare model; its head is the same in every call."""
        torch.manual_seed(0)
        return load_model(self.checkpoint, TASK.num_outputs, ATTENTION)


@dataclass(frozen=True)
class Contender:
    """A timed process: the training of a method, or one of its preliminary phases.

    Args:
        method: name of the method config.
        make: returns a function that takes one training step per batch. Context managers that must stay open
            are entered in the given stack.
        steps: steps of a phase in one run over all rows; None for the training of the method.
    """

    method: str
    make: Callable[[ExitStack], TrainBatches]
    steps: int | None = None


def run_of(method: str, data: str | None) -> RunConfig:
    """Return the configuration of a run of a method."""
    source = ["data=sample"] if data is None else ["data=local", f"data.root={data}"]
    return compose_run(f"method={method}", f"task={TASK.name}", f"trainer.batch_size={BATCH}", *source)


def prepare(data: str | None) -> Setting:
    """Find the backbone and encode the rows."""
    config = run_of(BASE, data)
    checkpoint = find_checkpoint(config.backbone)
    rows = load_task_data(TASK, config.data).splits["train"]
    tokenizer = load_tokenizer(checkpoint)
    return Setting(checkpoint, encode(rows, TASK, tokenizer, config.trainer.max_length), data)


def contenders(method: str, setting: Setting) -> dict[str, Contender]:
    """Return the training of a method and each of its preliminary phases, by name."""
    config = run_of(method, setting.data)
    entries = {method: Contender(method, partial(training, config.method, config, setting))}
    for phase in config.method.phases():
        if isinstance(phase, TrainingPhase):
            steps = phase.epochs * -(-len(setting.rows) // BATCH)
            make = partial(training, phase.method, config, setting)
        else:
            steps = -(-phase.examples // BATCH)
            make = partial(scoring, phase, config, setting)
        entries[f"{method}, phase: {phase.label}"] = Contender(method, make, steps)
    return entries


def training(method: Method, config: RunConfig, setting: Setting, stack: ExitStack) -> TrainBatches:
    """Return the training steps of the trainer. Preliminary phases are not run before them."""
    adaptation = adapt_untrained(method, setting.model())
    rate = config.trainer.learning_rate
    rates = Rates(rate, config.trainer.head_learning_rate or rate)
    profile = Profile(setting.rows, {}, rates, 0, Path())
    trainer = Trainer(adaptation, TASK, [profile], config.trainer, 0, Path(), {})
    trainer.model.train()
    if not adaptation.needs_every_token:
        stack.enter_context(first_token_only(trainer.model))

    def train_batches(batches: Batches) -> None:
        for examples in batches:
            (loss,) = trainer.passes.backward(trainer.states, [examples])
            trainer.states[0].step(examples, loss)
            trainer.passes.sync_weights()

    return train_batches


def scoring(phase: ScoringPhase, config: RunConfig, setting: Setting, _: ExitStack) -> TrainBatches:
    """Return the scoring of a phase, on as many rows as a batch has."""
    adaptation = phase.method.adapt(setting.model())
    adaptation.model.to(choose_device(config.trainer.device))

    def train_batches(batches: Batches) -> None:
        for examples in batches:
            batch_phase = replace(phase, examples=len(examples))
            squared_gradients(batch_phase, adaptation, TASK, setting.rows, int(examples[0]))

    return train_batches


def endless_batches(setting: Setting, window: int) -> Iterator[np.ndarray]:
    """Yield the batches of all epochs."""
    for epoch in count():
        yield from training_order(setting.rows.lengths, BATCH, window, 0, epoch)


def time_interleaved(
    timed: Mapping[str, Contender],
    setting: Setting,
    rounds: int,
    steps: int,
    clock: Callable[[], float],
) -> dict[str, np.ndarray]:
    """Return the milliseconds per step of each contender in each round, (rounds,), after a warm-up round."""
    config = run_of(BASE, setting.data).trainer
    device, order = choose_device(config.device), random.Random(0)
    batches = endless_batches(setting, config.bucket_batches)
    times: dict[str, list[float]] = {name: [] for name in timed}
    # All contenders stay in memory, so that each round runs every one of them on the same batches.
    with ExitStack() as stack:
        functions = {name: contender.make(stack) for name, contender in timed.items()}
        for _ in range(1 + rounds):
            round_batches = list(islice(batches, steps))
            for name in order.sample(list(functions), len(functions)):
                synchronize(device)
                start = clock()
                functions[name](round_batches)
                synchronize(device)
                times[name].append(1000 * (clock() - start) / steps)
    return {name: np.array(values[1:]) for name, values in times.items()}


def peak_bytes(method: str, name: str, setting: Setting) -> int:
    """Return the peak memory of a contender's steps minus the memory in use before its model is loaded."""
    device = choose_device(run_of(method, setting.data).trainer.device)
    longest = np.argsort(-setting.rows.lengths, kind="stable")[:BATCH]
    # The longest batch decides how much memory a run needs.
    reset_peak_memory(device)
    before = int(peak_memory(device)["peak_bytes"])
    with ExitStack() as stack:
        train_batches = contenders(method, setting)[name].make(stack)
        reset_peak_memory(device)
        train_batches([longest] * 3)  # the first step allocates the optimiser's state
        return int(peak_memory(device)["peak_bytes"]) - before


def peaks(timed: Mapping[str, Contender], setting: Setting) -> dict[str, int]:
    """Return the peak memory in bytes of each contender, each in its own process."""
    with own_processes() as pool:
        running = {name: pool.submit(peak_bytes, one.method, name, setting) for name, one in timed.items()}
        return {name: future.result() for name, future in running.items()}


def report(
    timed: Mapping[str, Contender], times: Mapping[str, np.ndarray], memory: Mapping[str, int]
) -> bool:
    """Print the tables; return whether every contender is within its limit."""
    passed = True
    ratios = {name: ratio_to_base(times[name], times[BASE]) for name in timed}
    print(f"{'':40s}{'ms/step':>9s}{'of lora':>9s}{'95 %':>15s}{'limit':>7s}{'MiB':>8s}{'of lora':>9s}")
    for name, ratio in ratios.items():
        limit = NEEDS_MORE.get(name, (GOAL, ""))[0]
        within_limit = ratio["ratio_to_base"] <= limit
        passed &= within_limit
        interval = f"[{ratio['ratio_low']:.2f}, {ratio['ratio_high']:.2f}]"
        print(
            f"{name:40s}{np.median(times[name]):9.1f}{ratio['ratio_to_base']:8.2f}x{interval:>15s}"
            f"{limit:6.1f}x{memory[name] / MIB:8.0f}{memory[name] / memory[BASE]:8.2f}x"
            f"{'' if within_limit else '  FAIL'}"
        )
    phases = {
        name: f"{one.steps:6d} steps, the time of {one.steps * ratios[name]['ratio_to_base']:6.0f} steps of "
        f"lora: {one.steps * np.median(times[name]) / 1000:.0f} s on this machine"
        for name, one in timed.items()
        if one.steps is not None
    }
    reasons = {name: reason for name, (_, reason) in NEEDS_MORE.items() if name in timed}
    print_lines("Preliminary phases, in a run over all rows", phases)
    print_lines("More than the goal, by definition", reasons)
    return passed


def print_lines(title: str, lines: Mapping[str, str]) -> None:
    """Print a titled list, unless it is empty."""
    if lines:
        print(f"\n{title}:")
    for name, line in lines.items():
        print(f"{name:40s}{line}")


def main() -> int:
    """Time all contenders, measure their memory, print the tables and the result, PASS or FAIL."""
    methods = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder with cola/train.jsonl or .parquet")
    parser.add_argument(
        "--methods", default=",".join(methods), help="names of configs/method; all by default"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=4, help="steps of each contender in a round")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="time the processor instead of the wall clock: for a busy machine without a GPU",
    )
    arguments = parser.parse_args()
    chosen = arguments.methods.split(",")
    if wrong := sorted(set(chosen) - set(methods)):
        parser.error(f"--methods={','.join(wrong)} is unknown; known: {', '.join(methods)}")
    silence()
    setting = prepare(arguments.data)
    timed: dict[str, Contender] = {}
    for method in dict.fromkeys([BASE, *chosen]):
        timed |= contenders(method, setting)
    memory = peaks(timed, setting)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    times = time_interleaved(timed, setting, arguments.rounds, arguments.steps, clock)
    timing = f"{arguments.rounds} rounds of {arguments.steps} steps"
    print(f"batch {BATCH} of {len(setting.rows)} rows, {torch.get_num_threads()} threads, {timing}")
    passed = report(timed, times, memory)
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
