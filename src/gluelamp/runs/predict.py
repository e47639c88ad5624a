"""Predictions of a finished run for the benchmark's hidden test labels."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import load_model, load_tokenizer
from gluelamp.errors import InputError
from gluelamp.methods.storage import load_task_state, provenance, read_choice
from gluelamp.runs.config import RunConfig
from gluelamp.runs.plan import plan_run
from gluelamp.tasks.data import load_task_data
from gluelamp.tasks.encoding import encode
from gluelamp.tasks.glue import glue_task
from gluelamp.tasks.lamp.tasks import LAMP
from gluelamp.tasks.metrics import predictions_from_outputs
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.submission import write_submission, zip_submission
from gluelamp.training.evaluation import predict
from gluelamp.training.precision import MasterWeights

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PredictConfig:
    """What to predict with a finished run.

    Args:
        task: another task with the same labels, such as ``ax`` with a run on mnli; the run's if None.
        selection: which of the run's two states.
    """

    task: str | None = None
    selection: Literal["best", "last"] = "best"


def write_test_predictions(config: RunConfig, choice: PredictConfig) -> Path:
    """Write the GLUE server's files of one finished run, and zip all files of its method and seed.

    Args:
        config: of the run, as it was trained.
        choice: what to predict.

    Returns:
        The zip, ``submissions/<backbone>/<method>/seed<seed>.zip`` in the results folder.

    Raises:
        InputError: if the run is not finished, or the task has no test rows here or is none of GLUE's.
    """
    plan = plan_run(config)
    if isinstance(plan.task, Mixture):
        raise InputError(
            f"task {config.task.name!r} is a mixture; test files are written for runs on one task."
        )
    for name in (config.task.name, choice.task):
        if name in LAMP:
            raise InputError(
                f"task {name!r} is of LaMP, and test files are written for the GLUE server alone. What a "
                "LaMP run predicts for its test rows stands in predictions.parquet beside its record."
            )
    trained_on, task = plan.task, glue_task(choice.task or config.task.name)
    if task.labels != trained_on.labels:
        raise InputError(f"A run on {trained_on.name!r} has other labels than {task.name!r} needs.")
    data = plan.data[0] if task is trained_on else load_task_data(task, config.data)
    splits = {name: data.splits[name] for name in task.test_splits if name in data.splits}
    if not splits:
        raise InputError(f"{task.name!r} has no test rows in this source; take data=hub or another root.")
    model = load_model(plan.checkpoint, task.num_outputs, ATTENTION).eval()
    trained = plan.folder / f"{choice.selection}.safetensors"
    adaptation = config.method.adapt(model, config.head.train_pooler, read_choice(trained))
    bound_to = provenance(adaptation, plan.checkpoint.checksum)
    load_task_state(trained, adaptation, bound_to)
    model.to(plan.device)
    MasterWeights(model, [], plan.dtype)
    tokenizer = load_tokenizer(plan.checkpoint)
    frames = {}
    for name, rows in splits.items():
        split = encode(rows, task, tokenizer, config.trainer.max_length)
        outputs = predict(model, split, config.trainer.eval_batch_size, plan.device)
        values = predictions_from_outputs(task, outputs)
        frames[name] = pd.DataFrame({"idx": split.idx, "prediction": values})
    place = plan.root / "submissions" / config.backbone.name / config.method.name
    folder = place / f"seed{config.seed}"
    write_submission(task, frames, folder)
    path = folder.with_suffix(".zip")
    zip_submission(folder, path)
    _log.info("%s", path)
    return path
