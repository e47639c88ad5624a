"""The record of a run, from its plan and from what its training gave."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from gluelamp.experiments.command import run_overrides
from gluelamp.experiments.environment import git_state, package_versions
from gluelamp.experiments.plan import Plan
from gluelamp.experiments.users import Persons, mean_history, mean_speed
from gluelamp.hardware import describe_device
from gluelamp.records import RUN_SCHEMA, RunRecord
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut
from gluelamp.training.profile import Progress
from gluelamp.training.trainer import Outcome


def new_record(plan: Plan, **results: Any) -> RunRecord:
    """Return the record of a run.

    Args:
        plan: of the run.
        results: fields of `RunRecord` that are known after training. Without them this is the record of
            a run that was not trained.
    """
    config, checkpoint = plan.config, plan.checkpoint
    data = _data_facts(plan)
    fields: dict[str, Any] = {
        "schema_version": RUN_SCHEMA,
        "identity": plan.identity,
        "status": "complete",
        "family": getattr(config.method, "family", "other"),
        "overrides": run_overrides(plan.effective, data["source"], data["revision"], checkpoint.revision),
        "config": plan.effective,
        "data": data,
        "backbone": {
            "name": config.backbone.name,
            "checksum": checkpoint.checksum,
            "source": config.backbone.source,
            "revision": checkpoint.revision,
        },
        "protocol": _protocol(plan),
        "main_metric": plan.task.main_metric,
        "versions": package_versions(),
        "git": git_state(),
        "device": describe_device(plan.device, plan.dtype),
    }
    return RunRecord(**(fields | results))


def _protocol(plan: Plan) -> dict[str, Any]:
    config = plan.config
    if config.task.profiles == "shared":
        selection = "best on validation, last and held_out"
        reused = "best: yes; held_out: cross-fitted (2-fold); last: no"
        if config.trainer.patience:
            # early stopping reads all rows, so it also limits the epochs that held_out can select
            reused += f"; early stopping on all rows (patience {config.trainer.patience})"
    else:
        selection = "best on each user's validation rows, and last"
        reused = "best: yes, by user; last: no"
    return {
        "selection": selection,
        "validation_reused": reused,
        "head_counted": False,
        "starts_from": "the pre-trained checkpoint",
        "truncated_to": config.trainer.max_length,
    }


def _data_facts(plan: Plan) -> dict[str, Any]:
    """Describe the data; in a mixture, each split and each deviation is marked with its task."""
    is_mixture = len(plan.data) > 1
    rows, deviations = {}, []
    for data in plan.data:
        prefix, suffix = (f"{data.task.name}.", f" ({data.task.name})") if is_mixture else ("", "")
        for name, frame in data.splits.items():
            rows[prefix + name] = len(plan.training_rows(data) if name == "train" else frame)
        deviations += [sentence + suffix for sentence in data.deviations]
    return {
        "source": plan.data[0].source,
        "fingerprint": plan.effective["data"]["fingerprint"],
        "revision": plan.data[0].revision,
        "rows": rows,
        "deviations": deviations,
    }


def shared_record(plan: Plan, counts: Mapping[str, Any], outcome: Outcome, held_out: HeldOut) -> RunRecord:
    """Return the record of a run that trained one profile for all rows.

    Args:
        plan: of the run.
        counts: ``parameters``, ``bytes`` and ``phases`` of the record.
        outcome: of the training.
        held_out: the cross-fitted scores of the training.
    """
    progress = outcome.progress
    epochs = [progress.history[number]["epoch"] for number in held_out.numbers]
    file_bytes = (plan.folder / "best.safetensors").stat().st_size
    return new_record(
        plan,
        **counts | {"bytes": {**counts["bytes"], "file": file_bytes}},
        metrics={
            "best": _metrics(progress, progress.best),
            "last": _metrics(progress, len(progress.history) - 1),
            "held_out": {"epoch": fmean(epochs), **held_out.metrics},
        },
        history=progress.history,
        speed=outcome.speed,
        memory=outcome.memory,
    )


def per_user_record(
    plan: Plan,
    counts: Mapping[str, Any],
    persons: Persons,
    outcomes: Mapping[str, Outcome],
    outputs: Mapping[str, Outputs],
) -> RunRecord:
    """Return the record of a run that trained a profile for each user.

    Args:
        plan: of the run.
        counts: ``parameters`` and ``bytes`` of the record.
        persons: the users of the run.
        outcomes: by user.
        outputs: of all rows, by selection.
    """
    finished = list(outcomes.values())
    epochs = {
        "best": [o.progress.history[o.progress.best]["epoch"] for o in finished if o.progress.history],
        "last": [o.progress.history[-1]["epoch"] for o in finished if o.progress.history],
    }
    diverged = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    memories = [outcome.memory for outcome in finished if outcome.memory]
    return new_record(
        plan,
        **counts,
        protocol={**_protocol(plan), "users": len(finished), "diverged": diverged},
        metrics={
            selection: {"epoch": fmean(epochs[selection]), **persons.metrics(outputs[selection])}
            for selection in outputs
        },
        history=mean_history(finished),
        speed=mean_speed(finished),
        memory=max(memories, key=lambda memory: memory["peak_bytes"]),
    )


def _metrics(progress: Progress, number: int) -> dict[str, Any]:
    entry = progress.history[number]
    return {key: value for key, value in entry.items() if key not in ("step", "train_loss")}
