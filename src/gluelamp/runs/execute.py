"""One run, from its configuration to its record."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import load_model, load_tokenizer
from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    provenance,
    write_shared_state,
)
from gluelamp.records import SCHEMA_VERSION, RunRecord, read_record, write_json
from gluelamp.runs.config import RunConfig
from gluelamp.runs.environment import describe_device, git_state, package_versions
from gluelamp.runs.plan import Plan, plan_run
from gluelamp.runs.predictions import write_predictions
from gluelamp.runs.tracking import open_tracker
from gluelamp.tasks.encoding import EncodedSplit, encode
from gluelamp.training.checkpoint import Progress
from gluelamp.training.trainer import DivergedError, Outcome, Trainer, set_dropout

_log = logging.getLogger(__name__)


def execute(config: RunConfig) -> RunRecord:
    """Train one run and write its record, or return the record that is there.

    Raises:
        InputError: on bad input, before any training.
        DivergedError: if training failed; a record with status ``failed`` is then written.
    """
    plan = plan_run(config)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with _locked(plan.folder):
        done = _existing(plan)
        if done is not None:
            _log.info("skipped, complete: %s", plan.folder)
            return done
        return _train(plan)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder} is being trained by another process; wait for it.") from error
    try:
        yield
    finally:
        lock.release()


def _existing(plan: Plan) -> RunRecord | None:
    path, policy = plan.folder / "record.json", plan.config.on_existing
    record = read_record(path) if path.is_file() else None
    complete = record is not None and record.status == "complete"
    if complete and policy == "fail":
        raise InputError(
            f"{plan.folder} is complete already. Allowed: on_existing=skip keeps it, "
            "on_existing=retrain replaces it."
        )
    if policy == "retrain" or (record is not None and not complete):
        _clear(plan.folder)  # a failed run would fail again from its checkpoint
        return None
    return record


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _train(plan: Plan) -> RunRecord:
    config, task = plan.config, plan.data.task
    tokenizer = load_tokenizer(plan.checkpoint)
    if config.trainer.max_length > tokenizer.model_max_length:
        raise InputError(
            f"trainer.max_length={config.trainer.max_length} is not allowed: backbone "
            f"{config.backbone.name!r} takes at most {tokenizer.model_max_length} tokens."
        )

    def encoded(rows: pd.DataFrame) -> EncodedSplit:
        cache = plan.root / "cache" / "tokens"
        return encode(rows, task, tokenizer, config.trainer.max_length, cache)

    train = encoded(plan.training_rows)
    validation = {
        name: encoded(plan.data.splits[name]) for name in task.validation_splits if name in plan.data.splits
    }
    torch.manual_seed(config.seed)
    model = load_model(plan.checkpoint, task.num_outputs, ATTENTION)
    if config.trainer.dropout is not None:
        set_dropout(model, config.trainer.dropout)  # before the method brings its own
    adaptation = config.method.adapt(model, config.head.train_pooler)
    bound_to = provenance(adaptation, plan.checkpoint.checksum)
    write_shared_state(plan.root / "shared", adaptation, bound_to)
    facts = _facts(plan, adaptation)
    tracker = open_tracker(config, plan.identity, plan.folder)
    trainer = Trainer(
        adaptation,
        task,
        train,
        validation,
        config.trainer,
        plan.rates,
        config.seed,
        plan.folder,
        bound_to,
        tracker,
    )
    try:
        outcome = trainer.run()
    except DivergedError as error:
        failed = replace(facts, status="failed", history=trainer.progress.history, error=str(error))
        _write(plan, failed)
        raise
    finally:
        tracker.close()
    write_predictions(plan.folder / "predictions.parquet", validation, outcome.outputs)
    record = _completed(facts, outcome, plan)
    _write(plan, record)
    (plan.folder / "checkpoint.pt").unlink()
    _log.info("%s", _one_line(record))
    return record


def _facts(plan: Plan, adaptation: Adaptation) -> RunRecord:
    """The record of a run as far as it is known before training."""
    config, data, checkpoint = plan.config, plan.data, plan.checkpoint
    rows = {name: len(frame) for name, frame in data.splits.items()}
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        identity=plan.identity,
        status="complete",
        config=plan.effective,
        data={
            "source": data.source,
            "fingerprint": data.fingerprint,
            "revision": data.revision,
            "rows": rows | {"train": len(plan.training_rows)},
            "deviations": list(data.deviations),
        },
        backbone={
            "name": config.backbone.name,
            "checksum": checkpoint.checksum,
            "source": config.backbone.source,
            "revision": checkpoint.revision,
        },
        protocol={
            "selection": "best on validation and last, from the same run",
            "validation_reused": True,
            "head_counted": False,
            "starts_from": "the pre-trained checkpoint",
            "truncated_to": config.trainer.max_length,
        },
        main_metric=data.task.main_metric,
        metrics={},
        history=[],
        parameters=count_parameters(adaptation),
        bytes=count_bytes(adaptation),
        speed={},
        memory={},
        versions=package_versions(),
        git=git_state(),
        device=describe_device(plan.device, plan.dtype),
    )


def _completed(facts: RunRecord, outcome: Outcome, plan: Plan) -> RunRecord:
    progress = outcome.progress
    stored = (plan.folder / "best.safetensors").stat().st_size
    return replace(
        facts,
        metrics={
            "best": _metrics(progress, progress.best),
            "last": _metrics(progress, len(progress.history) - 1),
        },
        history=progress.history,
        bytes={**facts.bytes, "file": stored},
        speed=outcome.speed,
        memory=outcome.memory,
    )


def _metrics(progress: Progress, number: int) -> dict[str, Any]:
    entry = progress.history[number]
    return {key: value for key, value in entry.items() if key not in ("step", "train_loss")}


def _write(plan: Plan, record: RunRecord) -> None:
    write_json(plan.folder / "record.json", asdict(record))


def _one_line(record: RunRecord) -> str:
    config, best, last = record.config, record.metrics["best"], record.metrics["last"]
    metric = record.main_metric
    return (
        f"{config['backbone']['name']} {config['method']['name']} {config['task']['name']} "
        f"seed {config['seed']} ({record.data['source']}): {metric} best {best[metric]:.4f} "
        f"(epoch {best['epoch']:g}), last {last[metric]:.4f}; "
        f"{record.speed['samples_per_second']:.0f} samples/s"
    )
