"""What a run's record says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from gluelamp.experiments.environment import git_state, package_versions
from gluelamp.experiments.plan import Plan
from gluelamp.experiments.users import Persons, mean_history, mean_speed
from gluelamp.hardware import describe_device
from gluelamp.records import SCHEMA_VERSION, RunRecord
from gluelamp.training.checkpoint import Progress
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut
from gluelamp.training.trainer import Outcome


def known_facts(plan: Plan) -> RunRecord:
    """Return the record of a run as far as it is known before training."""
    config, checkpoint = plan.config, plan.checkpoint
    return RunRecord(
        schema_version=SCHEMA_VERSION,
        identity=plan.identity,
        status="complete",
        config=plan.effective,
        data=_data_facts(plan),
        backbone={
            "name": config.backbone.name,
            "checksum": checkpoint.checksum,
            "source": config.backbone.source,
            "revision": checkpoint.revision,
        },
        protocol={
            **_selection_facts(config.task.profiles == "shared", config.trainer.patience),
            "head_counted": False,
            "starts_from": "the pre-trained checkpoint",
            "truncated_to": config.trainer.max_length,
        },
        main_metric=plan.task.main_metric,
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


def _selection_facts(one_adaptation: bool, patience: int | None) -> dict[str, str]:
    """What the record says of the choice of epochs."""
    if one_adaptation:
        reused = "best: all rows choose; held_out: each half by the other's choice; last: no"
        ended = f"; by all: when training ends (patience {patience})" if patience else ""
        return {
            "selection": "best on validation, last, and held_out, from the same run",
            "validation_reused": reused + ended,
        }
    return {
        "selection": "best on each person's validation rows, and last, from the same run",
        "validation_reused": "best: each person's own rows choose; last: no",
    }


def _data_facts(plan: Plan) -> dict[str, Any]:
    """What the record says of the data; of a mixture, with the tasks' names."""
    several = len(plan.data) > 1
    before, behind = ("{0}.", " ({0})") if several else ("", "")
    rows = {
        before.format(data.task.name) + name: len(plan.training_rows(data) if name == "train" else frame)
        for data in plan.data
        for name, frame in data.splits.items()
    }
    return {
        "source": plan.data[0].source,
        "fingerprint": plan.effective["data"]["fingerprint"],
        "revision": plan.data[0].revision,
        "rows": rows,
        "deviations": [
            sentence + behind.format(data.task.name) for data in plan.data for sentence in data.deviations
        ],
    }


def completed(facts: RunRecord, outcome: Outcome, held_out: HeldOut, plan: Plan) -> RunRecord:
    """Return the record with what training one adaptation gave.

    Args:
        facts: known before.
        outcome: of the training.
        held_out: what followed it.
        plan: of the run.
    """
    progress = outcome.progress
    epochs = [progress.history[number]["epoch"] for number in held_out.numbers]
    return replace(
        facts,
        metrics={
            "best": _metrics(progress, progress.best),
            "last": _metrics(progress, len(progress.history) - 1),
            "held_out": {"epoch": fmean(epochs), **held_out.metrics},
        },
        history=progress.history,
        bytes={**facts.bytes, "file": (plan.folder / "best.safetensors").stat().st_size},
        speed=outcome.speed,
        memory=outcome.memory,
    )


def completed_each(
    facts: RunRecord, persons: Persons, outcomes: Mapping[str, Outcome], outputs: Mapping[str, Outputs]
) -> RunRecord:
    """Return the record with what training one adaptation for each person gave.

    Args:
        facts: known before.
        persons: of the run.
        outcomes: by name.
        outputs: of all rows, by selection.
    """
    found = list(outcomes.values())
    epochs = {
        "best": [o.progress.history[o.progress.best]["epoch"] for o in found if o.progress.history],
        "last": [o.progress.history[-1]["epoch"] for o in found if o.progress.history],
    }
    diverged = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    return replace(
        facts,
        protocol={**facts.protocol, "persons": len(found), "diverged": diverged},
        metrics={
            selection: {"epoch": fmean(epochs[selection]), **persons.metrics(outputs[selection])}
            for selection in outputs
        },
        history=mean_history(found),
        speed=mean_speed(found),
        memory=max(
            (outcome.memory for outcome in found if outcome.memory), key=lambda memory: memory["peak_bytes"]
        ),
    )


def _metrics(progress: Progress, number: int) -> dict[str, Any]:
    entry = progress.history[number]
    return {key: value for key, value in entry.items() if key not in ("step", "train_loss")}
