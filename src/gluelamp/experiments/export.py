"""Export of a finished run: its model in one of the formats of `gluelamp.export`."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import build_from_shape, load_tokenizer
from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.finished import State, load_trained
from gluelamp.experiments.plan import Plan, plan_run
from gluelamp.export import Format, check_empty, export, prepare
from gluelamp.export.base import Origin
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phases import adapt_untrained
from gluelamp.tasks.mixture import Mixture

_log = logging.getLogger(__name__)

_ATTENTION = "sdpa"


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ExportConfig:
    """Options of the export.

    Args:
        destination: a new or empty folder.
        format: see `gluelamp.export.export`.
        selection: which of the run's two task states.
    """

    destination: str
    format: Format = "merged"
    selection: State = "best"


def export_run(config: RunConfig, options: ExportConfig) -> Path:
    """Write the model of a finished run, and its tokenizer.

    Args:
        config: of the run, as it was trained.
        options: what to write, and where.

    Returns:
        The folder.

    Raises:
        InputError: if the format cannot hold the method, the run is not complete, or the folder is not empty.
    """
    plan, folder = plan_run(config), Path(options.destination)
    if isinstance(plan.task, Mixture):
        raise InputError(
            f"task {config.task.name!r} is a mixture; a model is exported from a run on one task."
        )
    check_empty(folder)
    adaptation = _trained(plan, options)
    origin = Origin(*_base(plan), labels=tuple(plan.task.labels))
    # in fp32: a merge in bf16 would round the differences away
    export(adaptation, folder, options.format, origin)
    load_tokenizer(plan.checkpoint).save_pretrained(folder)
    _log.info("%s", folder)
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
