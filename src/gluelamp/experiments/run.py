"""One run, from its configuration to its record."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from gluelamp.errors import InputError
from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.inputs import encode_splits
from gluelamp.experiments.lock import locked
from gluelamp.experiments.plan import Plan, plan_run
from gluelamp.experiments.predictions import write_predictions
from gluelamp.experiments.record import new_record
from gluelamp.experiments.tracking import open_tracker
from gluelamp.experiments.training import train_each, train_one
from gluelamp.records import RunRecord, read_record, write_record
from gluelamp.training.trainer import DivergedError

_log = logging.getLogger(__name__)
_BESIDE = ".retrained"  # inside the folder of a run that is to be replaced


def execute(config: RunConfig) -> RunRecord:
    """Train one run and write its record, or return the record that is there.

    Raises:
        InputError: on bad input, before any training.
        DivergedError: if training failed; a record with status ``failed`` is then written, unless a record
            was there that was to be replaced: that one stays.
    """
    plan = plan_run(config)
    record = plan.folder / "record.json"
    with locked(plan.folder / ".lock", f"{plan.folder} is being trained"):
        if config.on_existing == "retrain" and record.is_file():
            return _retrain(plan)
        done = _complete(plan) if record.is_file() else None
        if done is not None:
            _log.info("skipped, complete: %s", plan.folder)
            return done
        if config.on_existing == "retrain" or record.is_file():
            _clear(plan.folder)  # a failed run would fail again from its checkpoint
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
    """Train in a folder inside the run's own, whose files stay until the new run is complete."""
    beside = replace(plan, subfolder=_BESIDE)
    shutil.rmtree(beside.folder, ignore_errors=True)  # of a run that was killed
    beside.folder.mkdir()
    try:
        record = _train(beside)
        _clear(plan.folder)
        for path in sorted(beside.folder.iterdir(), key=lambda path: path.name == "record.json"):
            path.rename(plan.folder / path.name)
    finally:
        shutil.rmtree(beside.folder)
    return record


def _clear(folder: Path) -> None:
    (folder / "record.json").unlink(missing_ok=True)  # first: with a record, all else must be whole
    for path in folder.iterdir():
        if path.is_dir() and path.name != _BESIDE:
            shutil.rmtree(path)
        elif not path.is_dir() and path.name != ".lock":
            path.unlink()


def _train(plan: Plan) -> RunRecord:
    train, validation = encode_splits(plan)
    tracker = open_tracker(plan.config, plan.identity, plan.folder)
    train_run = train_one if plan.config.task.profiles == "shared" else train_each
    try:
        record, outputs = train_run(plan, train, validation, tracker)
    except DivergedError as error:
        failed = new_record(plan, status="failed", history=error.history, error=str(error))
        write_record(plan.folder / "record.json", failed)
        raise
    finally:
        tracker.close()
    write_predictions(plan.folder / "predictions.parquet", plan.task, train, validation, outputs)
    write_record(plan.folder / "record.json", record)
    _clear_after(plan.folder)
    _log.info("%s", _one_line(record))
    return record


def _clear_after(folder: Path) -> None:
    """Remove what only a resumed run would need."""
    for file in [folder / "checkpoint.pt", *folder.glob("*.profiles.lock")]:
        file.unlink(missing_ok=True)
    for place in [folder / "persons", *folder.glob("phase-*")]:
        shutil.rmtree(place, ignore_errors=True)


def _one_line(record: RunRecord) -> str:
    config, best, last = record.config, record.metrics["best"], record.metrics["last"]
    metric = record.main_metric
    return (
        f"{config.backbone.name} {config.method.name} {config.task.name} "
        f"seed {config.seed} ({record.data['source']}): {metric} best {best[metric]:.4f} "
        f"(epoch {best['epoch']:g}), last {last[metric]:.4f}; "
        f"{record.speed['samples_per_second']:.0f} samples/s"
    )
