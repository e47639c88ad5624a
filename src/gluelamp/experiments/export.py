"""Export of a finished run: its model in one of the formats of `gluelamp.exporting`."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import build_from_shape, load_tokenizer
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.finished import State, load_trained
from gluelamp.experiments.plan import Plan, plan_run
from gluelamp.exporting import Format, check_empty, export, prepare
from gluelamp.exporting.base import Origin
from gluelamp.exporting.card import Evaluation
from gluelamp.exporting.push import check_token, push
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.phases import adapt_untrained
from gluelamp.records import read_record
from gluelamp.records.files import PathOption
from gluelamp.reporting.labels import SELECTIONS
from gluelamp.reporting.scores import SAMPLE, score_table
from gluelamp.reporting.signature import with_signatures
from gluelamp.reporting.summary import summarise
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.superglue_source import REPOSITORY as SUPERGLUE_REPOSITORY
from gluelamp.tasks.task import Task

_log = logging.getLogger(__name__)

_ATTENTION = "sdpa"
_DATASETS = {"glue": "nyu-mll/glue", "superglue": SUPERGLUE_REPOSITORY}  # on the hub, by benchmark


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ExportConfig:
    """Options of the export.

    Args:
        destination: a new or empty folder.
        format: see `gluelamp.exporting.export`.
        selection: which of the run's two task states.
        push: repository on the Hugging Face hub to which the folder is uploaded.
    """

    destination: PathOption
    format: Format = "merged"
    selection: State = "best"
    push: str | None = None


def export_run(config: RunConfig, options: ExportConfig) -> Path:
    """Write the model of a finished run, its tokenizer and a model card.

    Args:
        config: of the run, as it was trained.
        options: what to write, and where.

    Returns:
        The folder.

    Raises:
        InputError: if the format cannot hold the method, the run is not complete, the folder is not empty, or
            the upload is not possible.
    """
    plan, folder = plan_run(config), Path(options.destination)
    task = plan.task
    if isinstance(task, Mixture):
        raise InputError(f"task {task.name!r} is a mixture; a model is exported from a run on one task.")
    check_empty(folder)
    if options.push:
        check_token(options.push)
    adaptation = _trained(plan, options)
    base, revision = _base(plan)
    origin = Origin(base, revision, task.labels)
    evaluation = _evaluation(plan.folder, task, options.selection)
    # in fp32: a merge in bf16 would round the differences away
    export(adaptation, folder, options.format, origin=origin, evaluation=evaluation)
    load_tokenizer(plan.checkpoint).save_pretrained(folder)
    _log.info("%s", push(folder, options.push) if options.push else folder)
    return folder


def _trained(plan: Plan, options: ExportConfig) -> Adaptation:
    try:
        return load_trained(plan, options.selection, _ATTENTION)
    except InputError:
        # Nobody should train a run to learn only then that the format cannot hold its method.
        config = plan.config
        with torch.device("meta"):
            model = build_from_shape(config.backbone, plan.task.num_outputs, _ATTENTION, config.head.type)
            prepare(adapt_untrained(config.method, model), options.format)
        raise


def _base(plan: Plan) -> tuple[str, str | None]:
    """Return the name of the pre-trained model, and its commit on the hub."""
    backbone = plan.config.backbone
    if backbone.source == "local" or backbone.hub_id is None:
        return str(plan.checkpoint.folder), None
    return backbone.hub_id, plan.checkpoint.revision


def _evaluation(folder: Path, task: Task, state: State) -> Evaluation:
    """Return the main score of a run's task state, by the strictest selection of the epoch that it has."""
    record = read_record(folder / "record.json")
    rows = with_signatures(summarise(score_table([(folder, record)])))
    selections = ["last"] if state == "last" else ["held_out", "best"]
    score = rows[rows["is_main"] & rows["selection"].isin(selections)].iloc[0]  # the strictest comes first
    is_sample = record.data.source == SAMPLE
    return Evaluation(
        task=task.name,
        data=f"{record.data.source} data",
        metric=record.main_metric,
        value=float(score["mean"]),
        interval=None if pd.isna(score["low"]) else (float(score["low"]), float(score["high"])),
        selection=SELECTIONS[score["selection"]],
        split=task.validation_splits[0],
        dataset=None if is_sample else _DATASETS.get(task.benchmark),
        signature=score["signature"],
        notes=tuple(f"{note[:1].upper()}{note[1:].removesuffix('.')}." for note in record.data.deviations),
    )
