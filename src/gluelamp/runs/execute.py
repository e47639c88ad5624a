"""One run, from its configuration to its record."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from transformers import PreTrainedModel

from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import load_model, load_tokenizer
from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.method import learn_choice
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
from gluelamp.training.config import TrainerConfig
from gluelamp.training.phases import PhaseLearner
from gluelamp.training.trainer import DivergedError, Outcome, Rates, Trainer, set_dropout

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
    train, validation = _encoded(plan)
    model = _bare_model(plan)
    record = _facts(plan)
    tracker = open_tracker(plan.config, plan.identity, plan.folder)
    learner = _phase_learner(plan, train, validation)
    try:
        adaptation = _adaptation(plan, model, learner)
        record = replace(
            record,
            parameters=count_parameters(adaptation),
            bytes=count_bytes(adaptation),
            phases=learner.reports or None,
        )
        bound_to = provenance(adaptation, plan.checkpoint.checksum)
        write_shared_state(plan.root / "shared", adaptation, bound_to)
        trainer = Trainer(
            adaptation,
            plan.data.task,
            train,
            validation,
            plan.config.trainer,
            plan.rates,
            plan.config.seed,
            plan.folder,
            bound_to,
            tracker,
        )
        outcome = trainer.run()
    except DivergedError as error:
        _write(plan, replace(record, status="failed", history=error.history, error=str(error)))
        raise
    finally:
        tracker.close()
    write_predictions(plan.folder / "predictions.parquet", validation, outcome.outputs)
    record = _completed(record, outcome, plan)
    _write(plan, record)
    (plan.folder / "checkpoint.pt").unlink()
    learner.clear()
    _log.info("%s", _one_line(record))
    return record


def _encoded(plan: Plan) -> tuple[EncodedSplit, dict[str, EncodedSplit]]:
    """The training rows, and the validation splits by name."""
    task, splits, length = plan.data.task, plan.data.splits, plan.config.trainer.max_length
    tokenizer = load_tokenizer(plan.checkpoint)
    if length > tokenizer.model_max_length:
        raise InputError(
            f"trainer.max_length={length} is not allowed: backbone {plan.config.backbone.name!r} takes "
            f"at most {tokenizer.model_max_length} tokens."
        )
    cache = plan.root / "cache" / "tokens"
    return encode(plan.training_rows, task, tokenizer, length, cache), {
        name: encode(splits[name], task, tokenizer, length, cache)
        for name in task.validation_splits
        if name in splits
    }


def _bare_model(plan: Plan) -> PreTrainedModel:
    torch.manual_seed(plan.config.seed)
    model = load_model(plan.checkpoint, plan.data.task.num_outputs, ATTENTION)
    if plan.config.trainer.dropout is not None:
        set_dropout(model, plan.config.trainer.dropout)  # before the method brings its own
    return model


def _phase_learner(plan: Plan, train: EncodedSplit, validation: dict[str, EncodedSplit]) -> PhaseLearner:
    task, seed = plan.data.task, plan.config.seed

    def new_trainer(adaptation: Adaptation, config: TrainerConfig, rates: Rates, folder: Path) -> Trainer:
        return Trainer(adaptation, task, train, validation, config, rates, seed, folder, {})

    return PhaseLearner(new_trainer, task, train, plan.config.trainer, seed, plan.folder)


def _adaptation(plan: Plan, model: PreTrainedModel, learner: PhaseLearner) -> Adaptation:
    method, train_pooler = plan.config.method, plan.config.head.train_pooler
    if method.phases():  # what the method refuses, it refuses before its first phase
        shell = copy.deepcopy(model).to("meta")  # type: ignore[arg-type]  # see Trainer
        method.adapt(shell, train_pooler)
    choice = learn_choice(method, model, train_pooler, learner)
    return method.adapt(model, train_pooler, choice)


def _facts(plan: Plan) -> RunRecord:
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
        parameters={},
        bytes={},
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
