"""Training of a run: its rows and its model, then one profile for all rows or one for each user."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gluelamp.backbones.anatomy import anatomy, output_layer, readable_tokens
from gluelamp.backbones.dropout import ATTENTION
from gluelamp.backbones.load import load_tokenizer
from gluelamp.backbones.task_ids import accept_task_ids
from gluelamp.errors import InputError
from gluelamp.experiments.plan import Plan
from gluelamp.experiments.progress import RunProgress
from gluelamp.experiments.record import per_user_record, shared_record
from gluelamp.experiments.tracking import JsonLog
from gluelamp.experiments.users import Users
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phases import adapt_untrained, run_phases
from gluelamp.methods.storage import count_bytes, count_parameters, provenance, write_shared_state
from gluelamp.records import RunRecord
from gluelamp.tasks.encoding import EncodedSplit, concatenated, encode
from gluelamp.tasks.inspection import log_rows
from gluelamp.tasks.mixture import Mixture, member_split
from gluelamp.tasks.task import Task
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut
from gluelamp.training.passes import stack
from gluelamp.training.phase_runner import PhaseRunner
from gluelamp.training.profile_state import Profile, Rates
from gluelamp.training.trainer import DivergedError, Tracker, Trainer

Splits = dict[str, EncodedSplit]


def encode_splits(plan: Plan) -> tuple[EncodedSplit, Splits]:
    """Return the training rows, and the validation splits by name.

    Raises:
        InputError: if ``trainer.max_length`` is more than the encoder can read.
    """
    length = plan.config.trainer.max_length
    texts = max(len(data.task.text_columns) for data in plan.data)
    tokenizer = load_tokenizer(plan.checkpoint, texts)
    _check_length(plan, tokenizer.model_max_length)
    cache = plan.root / "cache" / "tokens"

    def encoded(rows: pd.DataFrame, task: Task) -> EncodedSplit:
        return encode(rows, task, tokenizer, length, cache)

    train, validation = [], []
    for data in plan.data:
        present = [name for name in data.task.validation_splits if name in data.splits]
        train.append(encoded(plan.training_rows(data), data.task))
        validation.append({name: encoded(data.splits[name], data.task) for name in present})
    if not isinstance(plan.task, Mixture):
        if plan.data[0].declaration:
            data, (name, scored) = plan.data[0], next(iter(validation[0].items()))
            rows = {"train": plan.training_rows(data), name: data.splits[name]}
            log_rows(data, rows, [train[0], scored], tokenizer, length)
        return train[0], validation[0]
    # in a mixture each row carries the number of its task, and each split the name
    numbered = {
        f"{data.task.name}.{name}": member_split(split, number)
        for number, (data, splits) in enumerate(zip(plan.data, validation, strict=True))
        for name, split in splits.items()
    }
    return concatenated([member_split(split, number) for number, split in enumerate(train)]), numbered


def _check_length(plan: Plan, readable: int | None) -> None:
    length, added = plan.config.trainer.max_length, plan.config.method.added_tokens
    if readable is not None and length + added > readable:
        addition = f" The method adds {added} to each text." if added else ""
        raise InputError(
            f"trainer.max_length={length} is not allowed: backbone {plan.config.backbone.name!r} takes "
            f"at most {readable} tokens.{addition}"
        )


def bare_model(plan: Plan) -> PreTrainedModel:
    """Return the pre-trained model with a new head for the run's task, initialised from the run's seed.

    Raises:
        InputError: if ``trainer.max_length`` is more than the encoder has positions for.
    """
    torch.manual_seed(plan.config.seed)
    model = plan.load_model(ATTENTION)
    _check_length(plan, readable_tokens(anatomy(model).embeddings.module))
    if any(plan.task.initial_head_bias):
        # The head of a regression task starts in the middle of the range of labels. From 0, its bias alone
        # needs hundreds of steps to get there, and until then the method learns almost nothing.
        output_layer(model).bias.data += torch.tensor(plan.task.initial_head_bias)
    if isinstance(plan.task, Mixture):
        accept_task_ids(model, len(plan.task.members))
    return model


@dataclass(frozen=True)
class AdaptedModel:
    """The model of a run with its method, before the training.

    Args:
        adaptation: the method's changes to the model.
        provenance: checksums of what its task states depend on.
        phases: a report of each preliminary phase.
    """

    adaptation: Adaptation
    provenance: dict[str, str]
    phases: list[dict[str, Any]]

    def counts(self) -> dict[str, Any]:
        """Return the fields of the record that describe the adaptation before its training."""
        return {
            "parameters": count_parameters(self.adaptation),
            "bytes": count_bytes(self.adaptation),
            "phases": self.phases or None,
        }


def adapt_model(
    plan: Plan, train: EncodedSplit, validation: Splits, folder: Path, progress: RunProgress
) -> AdaptedModel:
    """Return a new model with the run's method, after the preliminary phases of the method.

    Args:
        plan: of the run.
        train: the training rows of the phases.
        validation: the validation splits of the phases.
        folder: holds the checkpoints of the phases, in folders that begin with ``phase-``.
        progress: of the run.
    """
    task, method, seed = plan.task, plan.config.method, plan.config.seed

    def new_trainer(adaptation: Adaptation, config: TrainerConfig, rates: Rates, place: Path) -> Trainer:
        profile = Profile(train, validation, rates, seed, place)
        return Trainer(adaptation, task, [profile], config, seed, place, {}, [progress])

    # Each phase is trained by the same trainer as the method, with the rates and epochs of the phase.
    trainer = plan.config.trainer
    runner = PhaseRunner(new_trainer, task, train, trainer, plan.rates, seed, folder, progress)
    model = bare_model(plan)
    if method.phases():
        # A phase may take hours. An option that does not fit the model is refused before the first one.
        shell = copy.deepcopy(model).to("meta")  # type: ignore[arg-type]  # `to` is decorated
        adapt_untrained(method, shell)
    selection = run_phases(method, model, runner)
    adaptation = method.adapt(model, selection)
    # A task state is useless with another backbone, mask or bank, so it stores their checksums.
    checksums = provenance(adaptation, plan.checkpoint.checksum)
    write_shared_state(plan.root / "shared", adaptation, checksums)
    return AdaptedModel(adaptation, checksums, runner.reports)


def train_shared(
    plan: Plan, train: EncodedSplit, validation: Splits, log: JsonLog, progress: RunProgress
) -> tuple[RunRecord, dict[str, Outputs]]:
    """Train one profile on all rows; return the record and the outputs by selection."""
    held_out = HeldOut(plan.task, validation)
    adapted = adapt_model(plan, train, validation, plan.folder, progress)
    counts = adapted.counts()  # before the trainer casts the model to another precision
    profile = Profile(train, validation, plan.rates, plan.config.seed, plan.folder, held_out=held_out)
    (outcome,) = _new_trainer(plan, adapted, [profile], plan.folder, [log, progress]).run()
    record = shared_record(plan, counts, outcome, held_out, validation)
    return record, {**outcome.outputs, "held_out": held_out.outputs}


def train_per_user(
    plan: Plan, train: EncodedSplit, validation: Splits, log: JsonLog, progress: RunProgress
) -> tuple[RunRecord, dict[str, Outputs]]:
    """Train a profile for each user; return the record and the outputs by selection.

    Raises:
        DivergedError: if the training of every user diverged.
    """
    assert isinstance(plan.task, Task)
    config = plan.config
    users = Users(plan.task, train, validation, config.trainer.profiles_per_pass, plan.folder / "users")
    if config.trainer.profiles_per_pass > 1:  # a method that cannot be stacked is refused before training
        stack(adapt_untrained(config.method, bare_model(plan)), plan.task)
    start = None
    if config.task.profiles == "shared_then_per_user":
        with progress.part("the shared profile"):
            start = _shared_values(plan, train, validation, progress)
    described: list[tuple[dict[str, Any], dict[str, str]]] = []

    def new_trainer(profiles: Sequence[Profile], place: Path) -> Trainer:
        first = profiles[0]
        adapted = adapt_model(plan, first.train, first.validation, first.folder, progress)
        if not described:  # the counts are the same for all users
            described.append((adapted.counts() | {"phases": None}, adapted.provenance))
        started = [replace(profile, start=start) for profile in profiles]
        return _new_trainer(plan, adapted, started, place, [progress], continue_on_divergence=True)

    outcomes = users.train_profiles(new_trainer, plan.rates, config.seed, progress)
    # One diverged user does not end the run. If all diverged, there is nothing to report.
    errors = [outcome.error for outcome in outcomes.values() if outcome.error]
    if len(errors) == len(outcomes):
        raise DivergedError(f"The training of every user diverged; the first error: {errors[0]}", [])
    outputs = {selection: users.outputs(outcomes, selection) for selection in ("best", "last")}
    counts, checksums = described[0]
    for selection in outputs:
        path = plan.folder / f"{selection}.profiles"
        users.store(path, selection, checksums, plan.effective["method"])
    record = per_user_record(plan, counts, users, outcomes, outputs)
    # The log has means over users, which exist only after the last user is trained.
    for entry in record.history:
        log.log(int(entry["step"] or 0), {key: value or 0.0 for key, value in entry.items()})
    return record, outputs


def _shared_values(
    plan: Plan, train: EncodedSplit, validation: Splits, progress: RunProgress
) -> dict[str, Tensor]:
    """Train one profile on the rows of all users; return its last values by full name."""
    # named like the folders of phases, so that it is removed with them after the run
    folder = plan.folder / "phase-shared"
    folder.mkdir(exist_ok=True)
    adapted = adapt_model(plan, train, validation, folder, progress)
    profile = Profile(train, validation, plan.rates, plan.config.seed, folder)
    trainer = _new_trainer(plan, adapted, [profile], folder, [progress])
    trainer.run()
    # the fp32 masters, because the values in the model may be rounded to bf16
    names = adapted.adaptation.trainable | adapted.adaptation.head
    return {name: m.detach() for name, m in zip(names, trainer.states[0].masters, strict=True)}


def _new_trainer(
    plan: Plan,
    adapted: AdaptedModel,
    profiles: Sequence[Profile],
    folder: Path,
    trackers: Sequence[Tracker],
    continue_on_divergence: bool = False,
) -> Trainer:
    return Trainer(
        adapted.adaptation,
        plan.task,
        profiles,
        plan.config.trainer,
        plan.config.seed,
        folder,
        adapted.provenance,
        trackers,
        continue_on_divergence,
    )
