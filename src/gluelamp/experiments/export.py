"""A finished run as a plain model of transformers, the method merged into its weights."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import load_tokenizer
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.trained import Selection, load_trained
from gluelamp.tasks.mixture import Mixture

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ExportConfig:
    """What to write of a finished run, and where.

    Args:
        destination: a folder that is not there yet, or is empty.
        selection: which of the run's two states.
    """

    destination: str
    selection: Selection = "best"


def export_model(config: RunConfig, choice: ExportConfig) -> Path:
    """Write a run's merged model and its tokenizer, for ``AutoModelForSequenceClassification`` anywhere.

    Args:
        config: of the run, as it was trained.
        choice: what to write.

    Returns:
        The folder.

    Raises:
        InputError: if the run is not complete, its method cannot be merged, or the folder holds files.
    """
    plan, folder = plan_run(config), Path(choice.destination)
    if isinstance(plan.task, Mixture):
        raise InputError(f"task {config.task.name!r} is a mixture; a model is written for runs on one task.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds files. Take another export.destination, or empty it.")
    model = load_trained(plan, choice.selection, "sdpa").merge()
    if plan.task.labels:  # a regression task has none, and one output
        model.config.id2label = dict(enumerate(plan.task.labels))
        model.config.label2id = {label: number for number, label in enumerate(plan.task.labels)}
    model.save_pretrained(folder)
    load_tokenizer(plan.checkpoint).save_pretrained(folder)
    _log.info("%s", folder)
    return folder
