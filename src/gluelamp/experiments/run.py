"""One run, from its configuration to its record."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import Plan, plan_run
from gluelamp.experiments.progress import RunProgress, score_text
from gluelamp.experiments.record import machine_paths, new_record, write_predictions
from gluelamp.experiments.retrain import PATHS
from gluelamp.experiments.tracking import open_tracker
from gluelamp.experiments.training import encode_splits, train_per_user, train_shared
from gluelamp.hardware import multiplies_bf16
from gluelamp.io import locked, remove_partial_files, write_json
from gluelamp.records import RunRecord, read_record, write_record
from gluelamp.reporting.scores import data_label
from gluelamp.training.trainer import DivergedError

_log = logging.getLogger(__name__)
_RETRAINED = ".retrained"  # inside the folder of a run that is being replaced


def execute(config: RunConfig) -> RunRecord:
    """Train one run and write its record, or return the existing record.

    Raises:
        InputError: on bad input, before any training.
        DivergedError: if the training diverged. Then a record with status ``failed`` is written, unless an
            existing run was to be replaced, which then stays.
    """
    plan = plan_run(config)
    record = plan.folder / "record.json"
    # Two processes of a sweep may reach the same run. The second one gets an error, not a mixed folder.
    with locked(plan.folder / ".lock", f"{plan.folder} is being trained"):
        # Before the old record is read: retrain also replaces a record that cannot be read.
        if config.on_existing == "retrain" and record.is_file():
            return _retrain(plan)
        done = _complete(plan) if record.is_file() else None
        if done is not None:
            _log.info("skipped, complete: %s", plan.folder)
            return done
        if config.on_existing == "retrain" or record.is_file():
            _clear(plan.folder)  # from its checkpoint a failed run would fail again
        return _train(plan)


def _complete(plan: Plan) -> RunRecord | None:
    record = read_record(plan.folder / "record.json")
    if record.status != "complete":
        return None
    if plan.config.on_existing == "fail":
        raise InputError(
            f"{plan.folder} is complete already. Allowed: on_existing=skip keeps it, "
            "on_existing=retrain replaces it."
        )
    return record


def _retrain(plan: Plan) -> RunRecord:
    """Train in a subfolder of the run's folder, whose files stay until the new run is complete."""
    # A run of hours may diverge or be killed. In a folder of its own it cannot damage the result that exists.
    new = replace(plan, subfolder=_RETRAINED)
    shutil.rmtree(new.folder, ignore_errors=True)  # of a run that was killed
    new.folder.mkdir()
    try:
        record = _train(new)
        _clear(plan.folder)
        # the record is moved last: if it is there, all other files are
        for path in sorted(new.folder.iterdir(), key=lambda path: path.name == "record.json"):
            path.rename(plan.folder / path.name)
    finally:
        shutil.rmtree(new.folder)
    return record


def _clear(folder: Path) -> None:
    (folder / "record.json").unlink(missing_ok=True)  # first: a record promises that all files are complete
    for path in folder.iterdir():
        if path.is_dir() and path.name != _RETRAINED:
            shutil.rmtree(path)
        # If the lock file were removed, another process could create a new one and lock it at the same time.
        elif not path.is_dir() and path.name != ".lock":
            path.unlink()


def _train(plan: Plan) -> RunRecord:
    remove_partial_files(plan.folder)  # of a killed process; the run's lock is held
    progress = RunProgress(_name(plan.config), plan.task)
    if plan.dtype is torch.bfloat16 and not multiplies_bf16(plan.device):
        _log.warning("This processor has no bf16 instructions: products are computed in fp32 and rounded.")
    train, validation = encode_splits(plan)
    log = open_tracker(plan.config, plan.identity, plan.folder)
    train_run = train_shared if plan.config.task.profiles == "shared" else train_per_user
    try:
        record, outputs = train_run(plan, train, validation, log, progress)
    except DivergedError as error:
        failed = new_record(plan, status="failed", history=error.history, error=str(error))
        write_record(plan.folder / "record.json", failed)
        raise
    finally:
        # also after a failure, so that the log sends what it has
        log.close()
    # The record is written after all other files: if it exists, the run is complete.
    write_predictions(plan.folder / "predictions.parquet", plan.task, train, validation, outputs)
    write_json(plan.folder / PATHS, machine_paths(plan))
    write_record(plan.folder / "record.json", record)
    # Only now: a run that is killed before its record exists resumes from these files.
    _remove_resume_files(plan.folder)
    _log.info("%s; %s", _one_line(plan, record), plan.folder)
    return record


def _remove_resume_files(folder: Path) -> None:
    """Remove the files that only a resumed run needs."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    for place in [folder / "users", *folder.glob("phase-*")]:
        shutil.rmtree(place, ignore_errors=True)


def _name(config: RunConfig) -> str:
    return f"{config.backbone.name} {config.method_name} {config.task.name} seed {config.seed}"


def _one_line(plan: Plan, record: RunRecord) -> str:
    """Return the scores of a run, first the one whose epoch no row selected that it is scored on."""
    titles = {
        "held_out": "held out (cross-fitted)",
        "best": f"best epoch ({record.metrics['best']['epoch']:.3g})",
        "last": "last epoch",
    }
    scores = [
        f"{score_text(plan.task, record.metrics[selection][record.main_metric])} {title}"
        for selection, title in titles.items()
        if selection in record.metrics
    ]
    return (
        f"{_name(plan.config)} on {data_label(record)} data: {record.main_metric} {', '.join(scores)}; "
        f"{record.speed['samples_per_second']:,.0f} examples/s"
    )
