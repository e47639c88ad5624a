"""The benchmarks of the suite: how the tasks of each are read, downloaded, scored and submitted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.config import DataConfig
from gluelamp.tasks.custom_metrics import custom_metrics, write_predictions
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.glue_submission import GLUE_SERVER
from gluelamp.tasks.lamp.metrics import lamp_metrics
from gluelamp.tasks.lamp.source import download_lamp, read_lamp_local, read_lamp_sample
from gluelamp.tasks.lamp.tasks import LAMP, record_format
from gluelamp.tasks.sample import read_sample
from gluelamp.tasks.sources import HubUnavailableError, data_root, read_hub, read_local
from gluelamp.tasks.submission import submit
from gluelamp.tasks.superglue import SUPERGLUE
from gluelamp.tasks.superglue_metrics import superglue_metrics
from gluelamp.tasks.superglue_source import (
    expected_superglue_files,
    read_superglue_hub,
    read_superglue_local,
    read_superglue_sample,
)
from gluelamp.tasks.superglue_submission import SUPERGLUE_SERVER
from gluelamp.tasks.tables import Reading
from gluelamp.tasks.task import Task

if TYPE_CHECKING:
    import evaluate

logger = logging.getLogger(__name__)

_LAMP_ROOT = Path("data/lamp")
_SILENT_HUBS: set[str] = set()
"""Names of benchmarks whose hub did not answer this process."""


@dataclass(frozen=True)
class Benchmark:
    """Tasks with the same sources, scoring rules and submission format.

    A further benchmark is a module of task declarations and an entry in `BENCHMARKS`. No other code
    depends on the name of a benchmark.

    Args:
        name: as in `Task.benchmark` of its tasks.
        tasks: the declarations by name.
        default_root: the local folder that is read without ``data.root`` and $GLUELAMP_DATA.
        read_local: reads a task from a folder, but not from a second folder that will be overwritten;
            returns None if the folder holds nothing of the task.
        read_hub: reads a task from the network, or raises HubUnavailableError.
        read_sample: returns the bundled sample of a task.
        expected_files: returns a sentence on the files of a task in a local folder.
        score: returns the metrics of a task from predictions and labels (class ids or numbers, shape (n,))
            and the group of each row, shape (n,), or None if the task has no groups.
        submit: writes the files of the test server into a folder, and returns the packed file next to it.
            The predictions are a frame per split of `Task.submission`, with the columns ``idx`` and
            ``prediction`` and, if the task has groups, ``group``.
        download: copies the official files of a task to a folder as they are; None if the rows are on
            the hub, from which `gluelamp.tasks.data.prepare` writes Parquet files.
    """

    name: str
    tasks: Mapping[str, Task]
    default_root: Path
    read_local: Callable[[Task, Path, Path | None], Reading | None]
    read_hub: Callable[[Task, DataConfig], Reading]
    read_sample: Callable[[Task], Reading]
    expected_files: Callable[[Task], str]
    score: Callable[[Task, np.ndarray, np.ndarray, np.ndarray | None], dict[str, float]]
    submit: Callable[[Task, Mapping[str, pd.DataFrame], Path], Path]
    download: Callable[[Task, Path], object] | None = None

    def read(self, task: Task, config: DataConfig, avoid: Path | None = None) -> Reading:
        """Read one task from the configured source, without checks.

        Args:
            task: a task of this benchmark.
            config: which source to take.
            avoid: a local folder that must not be read, because it will be overwritten.

        Raises:
            InputError: if the source is not available or has nothing of the task, or if a file is broken.
        """
        if config.source == "sample":
            return self.read_sample(task)
        if config.source == "hub":
            return self.read_hub(task, config)
        # Local rows come first: they need no network, and a run must not change when the hub is reachable.
        root = data_root(config.root, self.default_root)
        if reading := self.read_local(task, root, avoid):
            return reading
        # `auto` continues with the next source only if no folder was named. Otherwise a run with a
        # misspelt folder would train on other rows.
        if config.source == "local" or config.root:
            problem = "holds no rows of" if root.is_dir() else "is no folder with"
            raise InputError(f"{root} {problem} task {task.name!r}. {self.expected_files(task)}")
        # All runs of a sweep use one source: a hub that did not answer is not asked again.
        if self.name not in _SILENT_HUBS:
            try:
                return self.read_hub(task, config)
            except HubUnavailableError as error:
                # without the task's name: the command line shows a sentence once
                logger.info("Not every task is in %s. %s", root, error)
                _SILENT_HUBS.add(self.name)
        return self.read_sample(task)


def _read_glue_hub(task: Task, config: DataConfig) -> Reading:
    return read_hub("nyu-mll/glue", task.name, config.revision, config.hub_timeout_s)


def _expected_glue_files(task: Task) -> str:
    return (
        f"Expected are files such as {task.name}/{task.splits[0]}.jsonl or .parquet, or the folders of "
        "the official glue_data."
    )


def _score_glue(
    task: Task, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> dict[str, float]:
    metric = _glue_metric("regression" if task.is_regression else "classification")
    # One batch of one list: see the features of the metric.
    return metric.compute(predictions=[predictions], references=[labels], metrics=list(task.metrics))


@cache
def _glue_metric(kind: str) -> evaluate.Metric:
    from gluelamp.tasks.glue_metrics import GlueMetrics  # imports `datasets`, which takes seconds

    # evaluate.load() would copy the file into a cache in the user's home. The constructor does not, but
    # creates a folder, which `keep_in_memory` does not use.
    with TemporaryDirectory() as unused:
        return GlueMetrics(config_name=kind, keep_in_memory=True, cache_dir=unused)


def _score_lamp(
    task: Task, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> dict[str, float]:
    return lamp_metrics(task, predictions, labels)


def _refuse_lamp_hub(task: Task, config: DataConfig) -> Reading:
    raise HubUnavailableError(
        f"Task {task.name!r} is not read from the network. Download its files once: "
        f"gluelamp prepare data=hub tasks=[{task.name}] destination={_LAMP_ROOT}; "
        "then set data=local."
    )


def _refuse_custom_reading(task: Task, *_: object) -> Reading:
    raise InputError(
        f"The rows of task {task.name!r} are read from the files that task.train and so on name."
    )


def _refuse_submission(task: Task, predictions: Mapping[str, pd.DataFrame], folder: Path) -> Path:
    raise InputError(f"The benchmark of task {task.name!r} has no test server.")


def _expected_lamp_files(task: Task) -> str:
    return (
        f"Expected is a folder {' or '.join(record_format(task).folders)} with train_questions.json, "
        "train_outputs.json and so on, or data.root with the path of such a folder."
    )


BENCHMARKS: Mapping[str, Benchmark] = {
    "glue": Benchmark(
        name="glue",
        tasks=GLUE,
        default_root=Path("data/glue"),
        read_local=read_local,
        read_hub=_read_glue_hub,
        read_sample=read_sample,
        expected_files=_expected_glue_files,
        score=_score_glue,
        submit=partial(submit, GLUE_SERVER),
    ),
    "superglue": Benchmark(
        name="superglue",
        tasks=SUPERGLUE,
        default_root=Path("data/superglue"),
        read_local=read_superglue_local,
        read_hub=read_superglue_hub,
        read_sample=read_superglue_sample,
        expected_files=expected_superglue_files,
        score=superglue_metrics,
        submit=partial(submit, SUPERGLUE_SERVER),
    ),
    "lamp": Benchmark(
        name="lamp",
        tasks=LAMP,
        default_root=_LAMP_ROOT,
        read_local=read_lamp_local,
        read_hub=_refuse_lamp_hub,
        read_sample=read_lamp_sample,
        expected_files=_expected_lamp_files,
        score=_score_lamp,
        submit=_refuse_submission,
        download=download_lamp,
    ),
    # Rows of a user's own: gluelamp.tasks.custom declares the task from the files that hold them.
    "custom": Benchmark(
        name="custom",
        tasks={},
        default_root=Path(),
        read_local=_refuse_custom_reading,
        read_hub=_refuse_custom_reading,
        read_sample=_refuse_custom_reading,
        expected_files=lambda _: "",
        score=custom_metrics,
        submit=write_predictions,
    ),
}


def task_benchmark(task: Task) -> Benchmark:
    """Return the benchmark of a task."""
    return BENCHMARKS[task.benchmark]
