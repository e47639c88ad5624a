"""Training of a run: one adaptation for all of its rows, or one for each person."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gluelamp.experiments.inputs import bare_model
from gluelamp.experiments.plan import Plan
from gluelamp.experiments.record import per_user_record, shared_record
from gluelamp.experiments.users import Persons
from gluelamp.methods.base import Adaptation
from gluelamp.methods.phases import adapt_untrained, run_phases
from gluelamp.methods.storage import count_bytes, count_parameters, provenance, write_shared_state
from gluelamp.records import RunRecord
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.task import Task
from gluelamp.training.config import TrainerConfig
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut
from gluelamp.training.passes import stack
from gluelamp.training.phases import PhaseRunner
from gluelamp.training.profile import Profile, Rates
from gluelamp.training.trainer import DivergedError, Tracker, Trainer

Splits = dict[str, EncodedSplit]


@dataclass(frozen=True)
class Built:
    """A run's adaptation before its training.

    Args:
        adaptation: of a model of its own.
        bound_to: what its task states are bound to.
        phases: reports of what was learnt before.
    """

    adaptation: Adaptation
    bound_to: dict[str, str]
    phases: list[dict[str, Any]]

    def counts(self) -> dict[str, Any]:
        """Return the fields of the record that describe the adaptation before its training."""
        return {
            "parameters": count_parameters(self.adaptation),
            "bytes": count_bytes(self.adaptation),
            "phases": self.phases or None,
        }


def build(plan: Plan, train: EncodedSplit, validation: Splits, folder: Path) -> Built:
    """Return a new adaptation, after the phases of its method.

    Args:
        plan: of the run.
        train: the rows that the phases learn from.
        validation: the validation splits that the phases are evaluated on.
        folder: takes what a resumed phase needs, in folders that begin with ``phase-``.
    """
    task, seed = plan.task, plan.config.seed
    method, train_pooler = plan.config.method, plan.config.head.train_pooler

    def new_trainer(adaptation: Adaptation, config: TrainerConfig, rates: Rates, place: Path) -> Trainer:
        profile = Profile(train, validation, rates, seed, place)
        return Trainer(adaptation, task, [profile], config, seed, place, {})

    learner = PhaseRunner(new_trainer, task, train, plan.config.trainer, plan.rates, seed, folder)
    model = bare_model(plan)
    if method.phases():  # what the method refuses, it refuses before its first phase
        shell = copy.deepcopy(model).to("meta")  # type: ignore[arg-type]  # see Trainer
        adapt_untrained(method, shell, train_pooler=train_pooler)
    selection = run_phases(method, model, learner, train_pooler)
    adaptation = method.adapt(model, selection, train_pooler=train_pooler)
    bound_to = provenance(adaptation, plan.checkpoint.checksum)
    write_shared_state(plan.root / "shared", adaptation, bound_to)
    return Built(adaptation, bound_to, learner.reports)


def train_one(
    plan: Plan, train: EncodedSplit, validation: Splits, tracker: Tracker
) -> tuple[RunRecord, dict[str, Outputs]]:
    """Train one adaptation on all rows; return its record and its outputs by selection."""
    held_out = HeldOut(plan.task, validation)
    built = build(plan, train, validation, plan.folder)
    counts = built.counts()  # before the trainer casts what is counted
    profile = Profile(train, validation, plan.rates, plan.config.seed, plan.folder, held_out=held_out)
    (outcome,) = _trainer(plan, built, [profile], plan.folder, tracker).run()
    return shared_record(plan, counts, outcome, held_out), {**outcome.outputs, "held_out": held_out.outputs}


def train_each(
    plan: Plan, train: EncodedSplit, validation: Splits, tracker: Tracker
) -> tuple[RunRecord, dict[str, Outputs]]:
    """Train one adaptation for each person; return the record of all and the outputs by selection.

    Raises:
        DivergedError: if nobody's training came to its end.
    """
    assert isinstance(plan.task, Task)
    config, folder = plan.config, plan.folder / "persons"
    persons = Persons(plan.task, train, validation, config.trainer.profiles_per_pass, folder)
    if config.trainer.profiles_per_pass > 1:  # what cannot pass together is refused before any training
        stack(
            adapt_untrained(config.method, bare_model(plan), train_pooler=config.head.train_pooler), plan.task
        )
    start = (
        _shared_values(plan, train, validation) if config.task.profiles == "shared_then_per_user" else None
    )
    described: list[tuple[dict[str, Any], dict[str, str]]] = []

    def new_trainer(profiles: Sequence[Profile], place: Path) -> Trainer:
        built = build(plan, profiles[0].train, profiles[0].validation, profiles[0].folder)
        if not described:  # all persons' adaptations are of one kind
            described.append((built.counts() | {"phases": None}, built.bound_to))
        started = [replace(profile, start=start) for profile in profiles]
        return _trainer(plan, built, started, place, continue_on_divergence=True)

    outcomes = persons.train_each(new_trainer, plan.rates, config.seed)
    errors = [outcome.error for outcome in outcomes.values() if outcome.error]
    if len(errors) == len(outcomes):
        raise DivergedError(
            f"The training of every person ended before its time; of the first: {errors[0]}", []
        )
    outputs = {selection: persons.outputs(outcomes, selection) for selection in ("best", "last")}
    counts, bound_to = described[0]
    for selection in outputs:
        path = plan.folder / f"{selection}.profiles"
        persons.store(path, selection, bound_to, plan.effective["method"])
    record = per_user_record(plan, counts, persons, outcomes, outputs)
    for entry in record.history:
        tracker.log(int(entry["step"]), entry)
    return record, outputs


def _shared_values(plan: Plan, train: EncodedSplit, validation: Splits) -> dict[str, Tensor]:
    """Train one adaptation on the rows of all persons; return its last values by full name."""
    folder = plan.folder / "phase-shared"
    folder.mkdir(exist_ok=True)
    built = build(plan, train, validation, folder)
    trainer = _trainer(
        plan, built, [Profile(train, validation, plan.rates, plan.config.seed, folder)], folder
    )
    trainer.run()
    names = built.adaptation.trainable | built.adaptation.head
    return {name: m.detach() for name, m in zip(names, trainer.states[0].masters, strict=True)}


def _trainer(
    plan: Plan,
    built: Built,
    profiles: Sequence[Profile],
    folder: Path,
    tracker: Tracker | None = None,
    continue_on_divergence: bool = False,
) -> Trainer:
    config, seed, bound_to = plan.config.trainer, plan.config.seed, built.bound_to
    return Trainer(
        built.adaptation, plan.task, profiles, config, seed, folder, bound_to, tracker, continue_on_divergence
    )
