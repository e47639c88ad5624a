"""Predictions of a finished run for the benchmark's hidden test labels."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import load_tokenizer
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import Plan, plan_run
from gluelamp.experiments.trained import Selection, load_trained
from gluelamp.tasks.benchmarks import task_benchmark
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import encode
from gluelamp.tasks.metrics import predictions_from_outputs
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.evaluation import predict
from gluelamp.training.precision import MasterWeights, matmul_context

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PredictConfig:
    """What to predict with a finished run.

    Args:
        task: another task with the same labels, such as ``ax`` with a run on mnli; the run's if None.
        selection: which of the run's two states.
    """

    task: str | None = None
    selection: Selection = "best"


def write_test_predictions(config: RunConfig, choice: PredictConfig) -> Path:
    """Write the GLUE server's files of one finished run, and zip all files of its method and seed.

    Args:
        config: of the run, as it was trained.
        choice: what to predict.

    Returns:
        The zip, ``submissions/<backbone>/<method>/seed<seed>.zip`` in the results folder.

    Raises:
        InputError: if the run is not finished, or the task has no test rows here, is none of GLUE's, or
            comes from another source than the run's.
    """
    plan = plan_run(config)
    task = _task_to_predict(plan, choice.task)
    data = plan.data[0]
    if task is not plan.task:
        source, data = data.source, load_task_data(task, config.data)
        if data.source != source:
            raise InputError(
                f"The run is on {source} data, and the rows of {task.name!r} would be {data.source} ones. "
                f"Take data={source} for both, from a place that has {task.name!r}."
            )
    splits = {name: data.splits[name] for name in task.test_splits if name in data.splits}
    if not splits:
        raise InputError(f"{task.name!r} has no test rows in this source; take data=hub or another root.")
    model = load_trained(plan, choice.selection, ATTENTION).model.to(plan.device)  # type: ignore[arg-type]
    MasterWeights(model, [], plan.dtype)
    tokenizer = load_tokenizer(plan.checkpoint)

    def frame(rows: pd.DataFrame) -> pd.DataFrame:
        split = encode(rows, task, tokenizer, config.trainer.max_length)
        with matmul_context(plan.dtype, plan.device):
            outputs = predict(model, split, config.trainer.eval_batch_size, plan.device)
        return pd.DataFrame({"idx": split.idx, "prediction": predictions_from_outputs(task, outputs)})

    place = plan.root / "submissions" / config.backbone.name / config.method_name
    predictions = {name: frame(rows) for name, rows in splits.items()}
    path = task_benchmark(task).submit(task, predictions, place / f"seed{config.seed}")
    _log.info("%s", path)
    return path


def _task_to_predict(plan: Plan, other: str | None) -> Task:
    own = plan.config.task.name
    if isinstance(plan.task, Mixture):
        raise InputError(f"task {own!r} is a mixture; test files are written for runs on one task.")
    task = known_task(other or own)
    for each in (plan.task, task):
        if not each.submission:
            raise InputError(
                f"The benchmark of task {each.name!r} has no test server. The predictions of a run for its "
                "test rows are in predictions.parquet next to its record."
            )
    if task.labels != plan.task.labels:
        raise InputError(f"A run on {own!r} has other labels than {task.name!r} needs.")
    return task
