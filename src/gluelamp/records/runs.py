"""The record of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gluelamp.errors import InputError
from gluelamp.records.files import read_layout, require

STATUSES = ("complete", "failed")
_NEEDED: dict[str, Any] = {
    "config.backbone.name": str,
    "config.method.name": str,
    "config.task.name": str,
    "config.seed": int,
}
_NEEDED_IF_COMPLETE: dict[str, Any] = {
    "config.trainer.epochs": float,
    "data.source": str,
    "data.fingerprint": str,
    "data.rows": Mapping[str, int],
    "data.deviations": list[str],
    "backbone.checksum": str,
}


@dataclass(frozen=True)
class RunRecord:
    """One run, complete or failed.

    Args:
        schema_version: version of this layout; :data:`SCHEMA_VERSION` when written by this release.
        identity: hash of the configuration and of the checksums of data and backbone.
        status: ``"complete"`` or ``"failed"``.
        config: the resolved configuration; at least ``backbone.name``, ``method.name``,
            ``task.name``, ``trainer.epochs`` and ``seed``.
        data: ``source``, ``fingerprint``, ``rows`` per split, and ``deviations`` (sentences).
        backbone: ``name``, ``checksum`` and whatever else describes the weights.
        protocol: how the number came about: selection, head counted or not, MNLI start or not.
        main_metric: the metric that selects the best epoch and stands in the tables.
        metrics: by selection (``"best"``, ``"last"``, and ``"held_out"`` of one adaptation for all rows), the
            ``epoch`` and the scores as fractions.
        history: one mapping per evaluation, in order.
        parameters: numbers of values: ``trained``, ``head``, ``backbone``, ``stored_values``; and
            ``trained_pct``, in percent of the backbone.
        bytes: bytes on disk: ``method``, ``head``, ``shared``, ``file``.
        speed: timings.
        memory: peak memory.
        versions: version per package.
        git: revision and state of the working tree.
        device: the device of the run.
        error: the message of a failed run.
        phases: what was learnt before the method's own training, one mapping a phase.
    """

    schema_version: int
    identity: str
    status: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    backbone: Mapping[str, Any]
    protocol: Mapping[str, Any]
    main_metric: str
    metrics: Mapping[str, Mapping[str, Any]]
    history: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    bytes: Mapping[str, Any]
    speed: Mapping[str, Any]
    memory: Mapping[str, Any]
    versions: Mapping[str, Any]
    git: Mapping[str, Any]
    device: Mapping[str, Any]
    error: str | None = None
    phases: Sequence[Mapping[str, Any]] | None = None


FoundRun = tuple[Path, RunRecord]
"""A run's folder and its record."""


def read_record(path: Path) -> RunRecord:
    """Read and check the record of one run.

    Args:
        path: a ``record.json``.

    Raises:
        InputError: if the file is not a record of this schema; the message names file and key.
    """
    record = read_layout(path, RunRecord)
    if record.status not in STATUSES:
        raise InputError(f"{path}: status {record.status!r} is neither of {', '.join(STATUSES)}.")
    needed = _NEEDED
    if record.status == "complete":
        scores = {f"metrics.{selection}.{record.main_metric}": float | None for selection in ("best", "last")}
        needed = _NEEDED | _NEEDED_IF_COMPLETE | scores
    for key, kind in needed.items():
        require(path, vars(record), key, kind)
    return record


def find_records(root: Path) -> list[RunRecord]:
    """Read the records of all runs below a results folder, in the order of their paths.

    Args:
        root: the results folder.

    Raises:
        InputError: if one of the files is not a record of this schema.
    """
    return [record for _, record in find_runs(root)]


def find_runs(root: Path) -> list[FoundRun]:
    """Return the folder and the record of all runs below a results folder, as `find_records` does."""
    paths = sorted(root.glob("runs/*/*/*/*/record.json"))
    return [(path.parent, read_record(path)) for path in paths]
