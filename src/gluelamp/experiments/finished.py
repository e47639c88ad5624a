"""The model of a finished run, and its test predictions for a server."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import load_tokenizer
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import Plan, plan_run
from gluelamp.methods.base import Adaptation
from gluelamp.methods.storage import load_task_state, provenance, read_selection
from gluelamp.records import read_record
from gluelamp.tasks.benchmarks import task_benchmark
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import encode
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.predictions import predictions_from_outputs
from gluelamp.tasks.task import Task, TaskData
from gluelamp.training.evaluation import predict
from gluelamp.training.precision import MasterWeights, matmul_context

_log = logging.getLogger(__name__)

State = Literal["best", "last"]
"""Which of the two task states of a run: of the best epoch, or of the last one."""


def load_trained(plan: Plan, state: State, attention: str) -> Adaptation:
    """Return the model of a finished run with its method, in fp32 and in evaluation mode.

    Args:
        plan: of the run, with the configuration of its training.
        state: which task state.
        attention: name of the attention implementation.

    Raises:
        InputError: if the run is not complete, or the task state is missing.
    """
    # The record is written last. Task states exist long before, also of runs that fail later.
    record = plan.folder / "record.json"
    if not record.is_file() or read_record(record).status != "complete":
        raise InputError(f"The run in {plan.folder} is not complete. Train it to its end first.")
    path = plan.folder / f"{state}.safetensors"
    if not path.is_file():
        raise InputError(
            f"The run in {plan.folder} holds no {path.name}: the file was removed, or each user has a "
            "profile in a profile store."
        )
    config = plan.config
    model = plan.load_model(attention).eval()
    adaptation = config.method.adapt(model, read_selection(path))
    load_task_state(path, adaptation, provenance(adaptation, plan.checkpoint.checksum))
    return adaptation


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PredictConfig:
    """Options of the test predictions.

    Args:
        task: another task with the same labels, such as ``ax`` with a run on mnli, or ``axb`` with a run on
            super_rte; None takes the run's.
        selection: which of the run's two task states.
    """

    task: str | None = None
    selection: State = "best"


def write_test_predictions(config: RunConfig, options: PredictConfig) -> Path:
    """Write the files of a test server for one finished run, and zip all files of its head, method and seed.

    Args:
        config: of the run, as it was trained.
        options: what to predict.

    Returns:
        The zip, ``submissions/<benchmark>/<backbone>/<head>/<method>/seed<seed>.zip`` in the results folder.

    Raises:
        InputError: if the run is not finished, or the task has no test rows in this source, has no test
            server, or comes from another source than the run's.
    """
    plan = plan_run(config)
    task = _task_to_predict(plan, options.task)
    data = _data_to_predict(plan, task)
    # These are validation splits where the labels are public.
    splits = {name: data.splits[name] for name in task.submission if name in data.splits}
    if not splits:
        raise InputError(
            f"{task.name!r} has no test rows in this source; take data=hub or another root or, with rows of "
            "your own, name a file with task.test."
        )
    model = load_trained(plan, options.selection, ATTENTION).model.to(plan.device)  # type: ignore[arg-type]
    # cast the model as in the evaluations of the training, so that the predictions are the same
    MasterWeights(model, [], plan.dtype)
    tokenizer = load_tokenizer(plan.checkpoint, len(task.text_columns))

    def frame(rows: pd.DataFrame) -> pd.DataFrame:
        split = encode(rows, task, tokenizer, config.trainer.max_length)
        with matmul_context(plan.dtype, plan.device):
            outputs = predict(model, split, config.trainer.eval_batch_size, plan.device)
        predictions = predictions_from_outputs(task, outputs, split.groups)
        groups = {} if split.groups is None else {"group": split.groups}
        return pd.DataFrame({"idx": split.idx, **groups, "prediction": predictions})

    name = f"{config.backbone.name}/{config.head.type}/{config.method_name}/seed{config.seed}"
    folder = plan.root / "submissions" / task.benchmark / name
    path = task_benchmark(task).submit(task, {name: frame(rows) for name, rows in splits.items()}, folder)
    _log.info("%s", path)
    return path


def _task_to_predict(plan: Plan, other: str | None) -> Task:
    own = plan.config.task.name
    if isinstance(plan.task, Mixture):
        raise InputError(f"task {own!r} is a mixture; test files are written for runs on one task.")
    task = known_task(other) if other else plan.task
    for each in (plan.task, task):
        if not each.submission:
            raise InputError(
                f"The benchmark of task {each.name!r} has no test server. The predictions of a run for its "
                "test rows are in predictions.parquet next to its record."
            )
    if task.labels != plan.task.labels:
        raise InputError(f"A run on {own!r} has other labels than {task.name!r} needs.")
    return task


def _data_to_predict(plan: Plan, task: Task) -> TaskData:
    if task is plan.task:
        return plan.data[0]
    # data=auto may find another task in another source
    source, data = plan.data[0].source, load_task_data(task, plan.config.data)
    if data.source != source:
        raise InputError(
            f"The run is on {source} data, and the rows of {task.name!r} would be {data.source} ones. "
            f"Take data={source} for both, from a folder that has {task.name!r}."
        )
    return data
