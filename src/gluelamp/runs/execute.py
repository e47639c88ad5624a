"""One run, from its configuration to its record."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout
from transformers import PreTrainedModel

from gluelamp.errors import InputError
from gluelamp.methods.adaptation import Adaptation
from gluelamp.methods.method import learn_choice
from gluelamp.methods.storage import (
    count_bytes,
    count_parameters,
    provenance,
    write_shared_state,
)
from gluelamp.records import RunRecord, read_record, write_json
from gluelamp.runs.config import RunConfig
from gluelamp.runs.facts import completed, known_facts
from gluelamp.runs.inputs import bare_model, encode_splits
from gluelamp.runs.plan import Plan, plan_run
from gluelamp.runs.predictions import write_predictions
from gluelamp.runs.tracking import open_tracker
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.training.config import TrainerConfig
from gluelamp.training.phases import PhaseLearner
from gluelamp.training.trainer import DivergedError, Rates, Trainer

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
    train, validation = encode_splits(plan)
    model = bare_model(plan)
    record = known_facts(plan)
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
            plan.task,
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
    record = completed(record, outcome, plan)
    _write(plan, record)
    (plan.folder / "checkpoint.pt").unlink()
    learner.clear()
    _log.info("%s", _one_line(record))
    return record


def _phase_learner(plan: Plan, train: EncodedSplit, validation: dict[str, EncodedSplit]) -> PhaseLearner:
    task, seed = plan.task, plan.config.seed

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
