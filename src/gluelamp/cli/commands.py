"""The commands of scripts/. Each takes a composed configuration as plain containers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gluelamp.cli.app import CONFIGS, RunFailedError, names, path

_log = logging.getLogger(__name__)

# Everything heavy is imported inside the commands, so that --help answers at once.


def train(raw: dict[str, Any]) -> None:
    """Train one run."""
    import torch

    from gluelamp.experiments.config import parse_run
    from gluelamp.experiments.run import execute
    from gluelamp.training.trainer import DivergedError

    try:
        execute(parse_run(raw))
    except DivergedError as error:
        raise RunFailedError(str(error)) from error
    except torch.OutOfMemoryError:  # without its cause, whose frames would keep the model in a sweep
        raise RunFailedError(
            "The device has too little free memory for this run. Lower trainer.batch_size, "
            "trainer.eval_batch_size or, where several profiles train in one pass, trainer.pass_tokens."
        ) from None


def predict(raw: dict[str, Any]) -> None:
    """Write the test predictions of a finished run."""
    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.finished import PredictConfig, write_test_predictions

    options = parse(PredictConfig, raw.pop("predict"), "predict")
    write_test_predictions(parse_run(raw), options)


def export(raw: dict[str, Any]) -> None:
    """Write the merged model of a finished run."""
    from gluelamp.experiments.config import parse, parse_run
    from gluelamp.experiments.finished import ExportConfig, export_model

    options = parse(ExportConfig, raw.pop("export"), "export")
    export_model(parse_run(raw), options)


def report(raw: dict[str, Any]) -> None:
    """Write the tables of a results folder, and its page with the figures."""
    from gluelamp.errors import InputError, unknown
    from gluelamp.reporting import write_tables
    from gluelamp.reporting.site import write_report

    writers: dict[str, Callable[[Path, Path], list[Path]]] = {
        "tables": write_tables,
        "report": write_report,
    }
    parts = names(raw["what"], "what")
    for part in parts:
        if part not in writers:
            raise unknown("what", part, writers)
    root, published = path(raw["results"]["root"], "results.root"), path(raw["published"], "published")
    if not published.is_dir():
        raise InputError(
            f"published={published} is not a folder; name the folder of the papers' numbers, such as "
            "results/published."
        )
    for part in parts:
        for written in writers[part](root, published):
            _log.info("%s", written)


def publish(raw: dict[str, Any]) -> None:
    """Add a CSV file of printed scores to those of one paper."""
    from gluelamp.reporting.published_scores import add_published

    known = [{file.stem for file in (CONFIGS / group).glob("*.yaml")} for group in ("method", "backbone")]
    folder = path(raw["published"], "published")
    added = add_published(path(raw["file"], "file"), str(raw["paper"]), folder, *known)
    _log.info("%d new rows in %s", added, folder / f"{raw['paper']}.csv")
