"""The table of all scores: one row per run, metric and selection of the epoch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.labels import SELECTIONS, flatten
from gluelamp.reporting.training_data import seen_datasets
from gluelamp.tasks.catalogue import recorded_task
from gluelamp.tasks.task import changes_scores

SAMPLE, CUSTOM = "sample", "custom"
DEVIATES, SUBSET, TRAINING_ROWS = "(deviates)", "(subset)", "(training rows)"
FP32_BYTES = 4
SIZES = ["trained", "trained_pct", "live_pct", "method_bytes", "stored_pct", "head_bytes", "shared_bytes"]
COUNTS = ["trained", "method_bytes", "head_bytes", "shared_bytes"]
"""The sizes that are whole numbers."""
COLUMNS = [
    *("data", "fingerprint", "checksum", "backbone", "head", "method", "family", "task", "seen_datasets"),
    *("declaration", "has_users", "profiles", "is_mixture"),
    *("seed", "epochs", "total_epochs", "diverged", "deviations"),
    *(*SIZES, "version", "folder"),
    *("metric", "is_main", "selection", "value"),
]
# Checksums are settings: other data or weights give another result. A few digits are enough to see that.
_CHECKSUMS = ("data.fingerprint", "backbone.checksum", "backbone.settings", "method.bank")
CHECKSUM_DIGITS = 8
"""How much of a checksum is in labels and titles."""


def score_table(runs: Sequence[FoundRun]) -> pd.DataFrame:
    """Return the scores of all complete runs. Every table of scores is a filter and a pivot of this one.

    Args:
        runs: the folder and the record of each run; failed runs are skipped.

    Returns:
        the columns `COLUMNS`, with ``value`` as a fraction (NaN if undefined), ``declaration`` as a `Task`
        (None for a mixture), ``trained_pct`` in percent of the backbone's values and ``stored_pct`` in
        percent of its bytes in fp32, both without the head; ``live_pct`` in percent of the trained values
        (NaN in records of earlier releases); ``total_epochs`` of `total_epochs`; and one column per setting,
        such as ``trainer.epochs``, with its value as text (NaN where a run does not have it). These names
        contain a dot.
    """
    rows = [row for folder, record in runs if record.status == "complete" for row in _rows(folder, record)]
    scores = pd.DataFrame(rows) if rows else pd.DataFrame(columns=COLUMNS)
    return scores.astype(dict.fromkeys(COUNTS, "Int64") | dict.fromkeys(["has_users", "is_main"], bool))


def _rows(folder: Path, record: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield the rows of one run. This is the only function that reads scores from a record."""
    config, counts, sizes = record.config, record.parameters, record.bytes
    has_sizes = counts.backbone > 0
    run = {
        "data": data_label(record),
        "fingerprint": record.data.fingerprint,
        "checksum": record.backbone.checksum,
        "backbone": config.backbone.name,
        "head": config.head.type,
        "method": config.method.name,
        "family": record.family,
        "task": config.task.name,
        "seen_datasets": seen_datasets(record.backbone.checksum, config.task.members or [config.task.name]),
        "declaration": recorded_task(config.task),
        "has_users": has_users(record),
        "profiles": config.task.profiles,
        "is_mixture": bool(config.task.members),
        "seed": config.seed,
        "epochs": config.trainer.epochs,
        "total_epochs": total_epochs(record),
        "diverged": len(record.protocol.diverged),
        "deviations": tuple(record.data.deviations),
        "trained": counts.trained,
        "trained_pct": counts.trained_pct,
        "live_pct": 100 * counts.live / counts.trained if counts.live and counts.trained else float("nan"),
        "method_bytes": sizes.method,
        "stored_pct": 100 * sizes.method / (FP32_BYTES * counts.backbone) if has_sizes else float("nan"),
        "head_bytes": sizes.head,
        "shared_bytes": sizes.shared,
        "version": record.versions.get("gluelamp"),
        "folder": folder,
        **run_settings(record),
    }
    # One row per metric and selection repeats the run's columns: filters need no join.
    for selection in SELECTIONS:
        for metric, value in record.metrics.get(selection, {}).items():
            if metric != "epoch":
                score = {"metric": metric, "is_main": metric == record.main_metric, "selection": selection}
                yield {**run, **score, "value": float("nan") if value is None else float(value)}


def total_epochs(record: RunRecord) -> float:
    """Return the passes over the training rows, forward and backward, of a run and its preliminary phases.

    Args:
        record: of a complete run. Early stopping counts: its passes are those until its last evaluation. A
            phase that scores some examples is a part of a pass.
    """
    rows = sum(count for split, count in record.data.rows.items() if split.endswith("train"))
    history = record.history
    total = float(history[-1]["epoch"] or 0) if history else float(record.config.trainer.epochs)
    for phase in record.phases or ():
        total += phase.get("epochs", 0)
        if rows:
            total += min(phase.get("examples", 0), rows) / rows
    return total


def run_settings(record: RunRecord) -> dict[str, str]:
    """Return everything that can change the result of a run, except its seed, as text by dotted key."""
    # The section `data` of the configuration holds the fingerprint only, so the folder of the data is no
    # setting: the same rows from another place give the same result.
    settings = flatten(record.config_dict())
    del settings["seed"]
    return settings | {key: settings[key][:CHECKSUM_DIGITS] for key in _CHECKSUMS if key in settings}


def table_settings(rows: pd.DataFrame) -> list[dict[str, str]]:
    """Return the settings of each row, as `run_settings` does."""
    # Only settings have a dot in the name of their column, and only theirs are text: NaN means "not set".
    settings = rows[[column for column in rows if "." in column]].to_dict("records")
    return [{str(key): value for key, value in row.items() if isinstance(value, str)} for row in settings]


def data_label(record: RunRecord) -> str:
    """Return the source of a run's data, with a mark if the run did not use all of it.

    Args:
        record: of a complete run.

    Returns:
        ``"hub"``, ``"local"``, ``"sample"`` or ``"custom"``, followed by ``" (training rows)"`` if the scores
        are on rows of the training split, and otherwise by ``" (deviates)"`` if the training or validation
        rows are not the official ones, and by ``" (subset)"`` if the configuration limits a split.
    """
    if is_trial(record):
        return f"{record.data.source} {TRAINING_ROWS}"
    settings = record.config_dict()["task"].items()
    is_limited = any(re.fullmatch("max_.*_examples", key) and value is not None for key, value in settings)
    deviates = any(map(changes_scores, record.data.deviations))
    return " ".join([record.data.source, *[DEVIATES] * deviates, *[SUBSET] * is_limited])


def is_trial(record: RunRecord) -> bool:
    """Return whether a run was scored on rows of the training split, as the trials of a search are."""
    return record.config.task.validation_from_train is not None


def is_benchmark(data: str) -> bool:
    """Return whether data with this label have the rows of published scores: all rows of a benchmark."""
    return not (data.startswith((SAMPLE, CUSTOM)) or data.endswith((DEVIATES, SUBSET, TRAINING_ROWS)))


def has_users(record: RunRecord) -> bool:
    """Return whether the rows of a run's task belong to users."""
    task = recorded_task(record.config.task)
    return task is not None and task.user_column is not None
