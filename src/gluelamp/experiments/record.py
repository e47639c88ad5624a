"""The files of a finished run: its record with the software versions, and its predictions for each row."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.experiments.identity import complete_config
from gluelamp.experiments.overrides import run_overrides
from gluelamp.experiments.plan import Plan
from gluelamp.experiments.users import Users, mean_history, mean_speed
from gluelamp.hardware import describe_device
from gluelamp.io import atomic_write
from gluelamp.records import RUN_SCHEMA, RunRecord
from gluelamp.tasks.benchmarks import task_benchmark
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.metrics import roc_auc
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.sources import data_root
from gluelamp.tasks.task import Task
from gluelamp.training.evaluation import Outputs
from gluelamp.training.held_out import HeldOut
from gluelamp.training.profile_state import Progress
from gluelamp.training.trainer import Outcome

# the packages that can change a result
_PACKAGES = ("gluelamp", "torch", "transformers", "peft", "datasets", "evaluate", "numpy", "scipy")


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
        "family": config.method.family,
        "overrides": run_overrides(
            complete_config(plan.effective),
            *(data["source"], data["revision"], checkpoint.revision, config.task.own_rows),
        ),
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


def machine_paths(plan: Plan) -> dict[str, str]:
    """Return the absolute paths of the files that a run reads, by the keys of its configuration.

    They are no part of the record, which is the same on every machine.
    """
    config, data = plan.config, plan.data[0]
    paths = {"backbone.path": config.backbone.path, "method.bank": getattr(config.method, "bank", None)}
    if data.source == "local":
        paths["data.root"] = str(data_root(config.data.root, task_benchmark(data.task).default_root))
    return {key: str(Path(path).absolute()) for key, path in paths.items() if path}


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
    # the rows of a mixture are listed by task
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


def shared_record(
    plan: Plan,
    counts: Mapping[str, Any],
    outcome: Outcome,
    held_out: HeldOut,
    validation: Mapping[str, EncodedSplit],
) -> RunRecord:
    """Return the record of a run that trained one profile for all rows.

    Args:
        plan: of the run.
        counts: ``parameters``, ``bytes`` and ``phases`` of the record.
        outcome: of the training.
        held_out: the cross-fitted scores of the training.
        validation: the validation splits.
    """
    progress = outcome.progress
    epochs = [progress.history[number]["epoch"] for number in held_out.numbers]
    # the counts were made before training, when there was no file
    file_bytes = (plan.folder / "best.safetensors").stat().st_size
    return new_record(
        plan,
        **{**_with_live(counts, [outcome]), "bytes": {**counts["bytes"], "file": file_bytes}},
        metrics={
            "best": _metrics(progress, progress.best),
            "last": {
                **_metrics(progress, len(progress.history) - 1),
                **_search_metrics(plan, validation, outcome.outputs["last"]),
            },
            "held_out": {"epoch": fmean(epochs), **held_out.metrics},
        },
        history=progress.history,
        speed=outcome.speed,
        memory=outcome.memory,
    )


def _with_live(counts: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    live = round(fmean(outcome.live for outcome in outcomes))
    return {**counts, "parameters": {**counts["parameters"], "live": live}}


def _search_metrics(plan: Plan, splits: Mapping[str, EncodedSplit], outputs: Outputs) -> dict[str, float]:
    """Return the area under the ROC curve, by which trials on a task with two classes are ranked."""
    # Many trials predict the majority class everywhere, and then all have the same accuracy. It is in the
    # record because the predictions of hundreds of trials are too large to be kept.
    task = plan.task
    if plan.config.task.validation_from_train is None or isinstance(task, Mixture) or len(task.labels) != 2:
        return {}
    split = task.validation_splits[0]
    return {"roc_auc": roc_auc(outputs[split], splits[split].labels)}


def per_user_record(
    plan: Plan,
    counts: Mapping[str, Any],
    users: Users,
    outcomes: Mapping[str, Outcome],
    outputs: Mapping[str, Outputs],
) -> RunRecord:
    """Return the record of a run that trained a profile for each user.

    Args:
        plan: of the run.
        counts: ``parameters`` and ``bytes`` of the record.
        users: of the run.
        outcomes: by user.
        outputs: of all rows, by selection.
    """
    finished = list(outcomes.values())
    # a user whose training diverged before the first evaluation has no history
    epochs = {
        "best": [o.progress.history[o.progress.best]["epoch"] for o in finished if o.progress.history],
        "last": [o.progress.history[-1]["epoch"] for o in finished if o.progress.history],
    }
    diverged = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    # groups are trained one after the other, so the peak is that of the largest group
    memories = [outcome.memory for outcome in finished if outcome.memory]
    return new_record(
        plan,
        **_with_live(counts, [outcome for outcome in finished if not outcome.error]),
        protocol={**_protocol(plan), "users": len(finished), "diverged": diverged},
        metrics={
            selection: {"epoch": fmean(epochs[selection]), **users.metrics(outputs[selection])}
            for selection in outputs
        },
        history=mean_history(finished),
        speed=mean_speed(finished),
        memory=max(memories, key=lambda memory: memory["peak_bytes"]),
    )


def _metrics(progress: Progress, number: int) -> dict[str, Any]:
    entry = progress.history[number]
    return {key: value for key, value in entry.items() if key not in ("step", "train_loss")}


def write_predictions(
    path: Path,
    task: Task | Mixture,
    train: EncodedSplit,
    splits: Mapping[str, EncodedSplit],
    outputs: Mapping[str, Outputs],
) -> None:
    """Write the head's outputs for each evaluated row as Parquet, for paired tests.

    Columns: ``selection`` (best, last, held_out), ``split``, ``idx``, ``label``, ``output_0`` ... If the rows
    are in groups, also ``group``. If they belong to users, also ``user`` and two majority baselines: the most
    frequent class of the training rows (for a regression their median) of all users (``baseline_all``) and
    of the row's user (``baseline_user``).

    Args:
        path: the file.
        task: the declaration.
        train: the training rows.
        splits: the evaluated splits.
        outputs: by selection and split, (rows, outputs).
    """
    described = {name: _row_columns(task, train, rows) for name, rows in splits.items()}
    frames = [
        pd.DataFrame(
            {"selection": selection, "split": name, **described[name]}
            | {f"output_{column}": values[:, column] for column in range(values.shape[1])}
        )
        for selection, by_split in outputs.items()
        for name, values in by_split.items()
    ]
    with atomic_write(path) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)


def _row_columns(task: Task | Mixture, train: EncodedSplit, rows: EncodedSplit) -> dict[str, np.ndarray]:
    columns = {"idx": rows.idx, "label": rows.labels}
    if rows.groups is not None:
        columns["group"] = rows.groups
    if rows.users is None or train.users is None or isinstance(task, Mixture):
        return columns

    def baseline(labels: pd.Series) -> float:
        return float(labels.median() if task.is_regression else labels.mode().iloc[0])

    labels = pd.Series(train.labels)
    overall = baseline(labels)
    by_user = pd.Series(rows.users).map(labels.groupby(train.users).agg(baseline))
    return columns | {
        "user": rows.users,
        "baseline_all": np.full(len(rows), overall),
        "baseline_user": by_user.fillna(overall).to_numpy(),  # a user without training rows
    }


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that can change a result."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


@lru_cache(maxsize=1)
def git_state() -> dict[str, str | bool | None]:
    """Return the git revision of this package's source tree and whether it has changes; None without git."""
    folder = Path(__file__).parent
    revision = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": bool(changes) if revision else None}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
