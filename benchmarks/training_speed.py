#!/usr/bin/env python3
"""Training speed of LoRA r=8 on CoLA with MiniLM, compared with Hugging Face Trainer and peft.

    python benchmarks/training_speed.py --data ../data/glue

Both train on the same data with the same batch size on the same machine, in interleaved rounds, so that a
drift of the machine's speed affects them equally. The reference is timed as users commonly run it (padded to
128 tokens, fp32), at its fastest (dynamic padding, bf16), and with its grouping by length. gluelamp is also
timed with CUDA graphs if there is a GPU.

Columns:
    samples/s  median over the rounds of the samples per second of the training loop, after a warm-up and
               without evaluation
    speedup    speed of gluelamp (bf16, without CUDA graphs) divided by the speed of this row
    goal       the smallest speedup that passes

The result is PASS if all goals are met.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pandas as pd
import torch

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import find_checkpoint, load_model, load_tokenizer
from gluelamp.experiments.config import RunConfig
from gluelamp.hardware import choose_device
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import encode
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import Trainer
from peer import peer_trainer
from setting import compose_run, silence

BATCH, LENGTH, RATE = 32, 128, 1e-3
DEFAULT, BEST, GROUPED, GLUELAMP, GRAPHS = (
    "Hugging Face Trainer + peft, padded to 128, fp32",
    "Hugging Face Trainer + peft, dynamic padding, bf16",
    "Hugging Face Trainer + peft, grouped by length, bf16",
    "gluelamp, bf16",
    "gluelamp, bf16, CUDA graphs",
)
GOALS = {DEFAULT: 25.0, BEST: 1.6}


def time_peer(rows: pd.DataFrame, config: RunConfig, padded_to: int | None = None, **options: Any) -> float:
    """Return the samples per second of the reference in one epoch over the rows."""
    checkpoint, task = find_checkpoint(config.backbone), known_task("cola")
    split = encode(rows, task, load_tokenizer(checkpoint), LENGTH)
    loop = {"per_device_train_batch_size": BATCH, "num_train_epochs": 1, "learning_rate": RATE, **options}
    with tempfile.TemporaryDirectory() as folder:
        device = choose_device(config.trainer.device)
        trainer = peer_trainer(checkpoint, task.num_outputs, split, folder, device, padded_to, **loop)
        return trainer.train().metrics["train_samples_per_second"]


def time_gluelamp(rows: pd.DataFrame, config: RunConfig) -> float:
    """Return the samples per second of gluelamp in one epoch over the rows."""
    task = known_task("cola")
    checkpoint = find_checkpoint(config.backbone)
    split = encode(rows, task, load_tokenizer(checkpoint), LENGTH)
    validation = encode(rows.head(8), task, load_tokenizer(checkpoint), LENGTH)
    torch.manual_seed(0)
    adaptation = config.method.adapt(load_model(checkpoint, task.num_outputs, ATTENTION))
    with tempfile.TemporaryDirectory() as folder:
        rates = Rates(RATE, RATE)
        provenance = {"backbone": checkpoint.checksum, "shared": ""}
        profile = Profile(split, {"validation": validation}, rates, 0, Path(folder))
        trainer = Trainer(adaptation, task, [profile], config.trainer, 0, Path(folder), provenance)
        return trainer.run()[0].speed["samples_per_second"]


def main() -> int:
    """Time all contenders, print the table of ratios and the result, PASS or FAIL."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with cola/train.jsonl or .parquet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=1280)
    arguments = parser.parse_args()
    silence()
    local = ("data=local", f"data.root={arguments.data}")
    config = compose_run("method=lora", "task=cola", "trainer.epochs=1", *local)
    rows = load_task_data(known_task("cola"), config.data).splits["train"]
    rows = rows.sample(arguments.examples, random_state=0)
    # The reference padded to 128 tokens is slow, so it trains on a quarter of the rows.
    timed: dict[str, Callable[[pd.DataFrame], float]] = {
        DEFAULT: lambda part: time_peer(part.head(len(part) // 4), config, LENGTH),
        BEST: lambda part: time_peer(part, config, bf16=True),
        GROUPED: lambda part: time_peer(part, config, bf16=True, train_sampling_strategy="group_by_length"),
        GLUELAMP: lambda part: time_gluelamp(part, config),
    }
    if choose_device(config.trainer.device).type == "cuda":
        graphs = replace(config, trainer=replace(config.trainer, graphs=True))
        timed[GRAPHS] = lambda part: time_gluelamp(part, graphs)
    for run in timed.values():
        run(rows.head(4 * BATCH))  # warm-up
    rates: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(arguments.rounds):
        for name, run in timed.items():
            rates[name].append(run(rows))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    setting = f"batch {BATCH}, {torch.get_num_threads()} threads, {arguments.rounds} rounds"
    print(f"{arguments.examples} examples, {setting}")
    print(f"{'':54s}{'samples/s':>10s}{'speedup':>9s}{'goal':>7s}")
    for name, median in medians.items():
        goal = f"{GOALS[name]:g}x" if name in GOALS else ""
        print(f"{name:54s}{median:10.1f}{medians[GLUELAMP] / median:8.2f}x{goal:>7s}")
    passed = all(medians[GLUELAMP] >= goal * medians[name] for name, goal in GOALS.items())
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
