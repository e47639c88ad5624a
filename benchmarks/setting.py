"""Functions of several benchmarks: composed runs, logging, and processes that measure memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import transformers
from hydra import compose, initialize_config_dir

from gluelamp.cli.app import plain
from gluelamp.experiments.config import RunConfig, parse_run
from gluelamp.package_data import CONFIGS


def compose_run(*overrides: str) -> RunConfig:
    """Return the configuration of a run, composed as on the command line."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return parse_run(plain(compose("train", overrides=list(overrides))))


def silence() -> None:
    """Turn off the log lines and progress bars of the libraries."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()


@contextmanager
def own_processes() -> Iterator[Executor]:
    """Run each call in its own process, so that the peak memory of the process is that of the call."""
    # Makes glibc return freed tensors to the system at once, so that a peak does not contain freed memory.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    # Every process is forked from a server that has imported the libraries but has loaded no model.
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", "peft"])
    with ProcessPoolExecutor(1, context, silence, max_tasks_per_child=1) as pool:
        yield pool
