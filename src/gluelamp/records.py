"""What a run or a measurement leaves behind: one typed, versioned JSON file each.

<root>/runs/<backbone>/<method>/<task>/<identity>/record.json
<root>/measurements/<kind>/<backbone>/<method>-<hash>.json
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from gluelamp.errors import InputError, unknown

SCHEMA_VERSION = 1
STATUSES = ("complete", "failed")

MEASUREMENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "parameters": (
        "trained",
        "trained_pct",
        "head",
        "stored_values",
        "stored_bytes",
        "shared_bytes",
    ),
    "latency": (
        "state",
        "device",
        "dtype",
        "threads",
        "batch",
        "length",
        "median_ms",
        "ratio_to_base",
    ),
    "xpeft_bytes": (
        "num_adapters",
        "outputs",
        "trained",
        "mask_bytes",
        "formula_bytes",
        "head_bytes",
        "bank_stored_bytes",
        "bank_memory_bytes",
        "adapter_weight_bytes",
        "adapter_bytes",
        "factor",
        "factor_with_head",
    ),
}
"""The columns that every row of a measurement has, by its kind."""


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
        bytes: bytes on disk: ``task``, ``head``, ``shared``, ``checkpoint``.
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


@dataclass(frozen=True)
class Measurement:
    """What was counted or timed for one method on one backbone, without a training run.

    Args:
        schema_version: version of this layout.
        kind: one of :data:`MEASUREMENT_COLUMNS`.
        backbone: the backbone's name.
        method: the method's name.
        config: the method's fields.
        rows: one mapping per table row, with at least the columns of :data:`MEASUREMENT_COLUMNS`.
    """

    schema_version: int
    kind: str
    backbone: str
    method: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old content or the new one, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        text: the whole content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, mapping: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, whole or not at all; keys keep their order.

    Args:
        path: the file.
        mapping: JSON types only; NaN and infinities become null, for which JSON has no numbers.
    """
    content = json.dumps(_finite(mapping), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, content + "\n")


def read_record(path: Path) -> RunRecord:
    """Read and check the record of one run.

    Args:
        path: a ``record.json``.

    Raises:
        InputError: if the file is not a record of this schema; the message names file and key.
    """
    record = _read(path, RunRecord)
    if record.status not in STATUSES:
        raise InputError(f"{path}: status {record.status!r} is neither of {', '.join(STATUSES)}.")
    needed = ["config.backbone.name", "config.method.name", "config.task.name", "config.seed"]
    if record.status == "complete":
        needed += ["config.trainer.epochs", "data.source", "data.fingerprint", "data.rows"]
        needed += ["data.deviations", "backbone.checksum"]
        needed += [f"metrics.{selection}.{record.main_metric}" for selection in ("best", "last")]
    for key in needed:
        _require(path, vars(record), key)
    return record


def find_records(root: Path) -> list[RunRecord]:
    """Read the records of all runs below a results folder, in the order of their paths.

    Args:
        root: the results folder.

    Raises:
        InputError: if one of the files is not a record of this schema.
    """
    return [record for _, record in find_runs(root)]


def find_runs(root: Path) -> list[tuple[Path, RunRecord]]:
    """Return the folder and the record of all runs below a results folder, as `find_records` does."""
    paths = sorted(root.glob("runs/*/*/*/*/record.json"))
    return [(path.parent, read_record(path)) for path in paths]


def find_measurements(root: Path, kind: str) -> list[Measurement]:
    """Read all measurements of one kind below a results folder, in the order of their paths.

    Args:
        root: the results folder.
        kind: one of :data:`MEASUREMENT_COLUMNS`.

    Raises:
        InputError: if there is no such kind, or if a file is not a measurement of this schema.
    """
    if kind not in MEASUREMENT_COLUMNS:
        raise unknown("measurement", kind, MEASUREMENT_COLUMNS)
    paths = sorted((root / "measurements" / kind).glob("*/*.json"))
    return [_read_measurement(path, kind) for path in paths]


def _read_measurement(path: Path, kind: str) -> Measurement:
    measurement = _read(path, Measurement)
    if measurement.kind != kind:
        raise InputError(f"{path}: kind {measurement.kind!r} does not belong among the {kind}.")
    if not measurement.rows:
        raise InputError(f"{path}: key 'rows' is empty. Remove the file and measure again.")
    for position, row in enumerate(measurement.rows):
        for column in MEASUREMENT_COLUMNS[kind]:
            if column not in row:
                raise InputError(f"{path}: key 'rows.{position}.{column}' is missing.")
    return measurement


_Layout = TypeVar("_Layout", RunRecord, Measurement)


def _read(path: Path, layout: type[_Layout]) -> _Layout:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}. Remove it and run again.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: key 'schema_version' is {version!r}; this release reads {SCHEMA_VERSION}.")
    for field in fields(layout):
        if field.default is MISSING:
            _require(path, content, field.name)
    surplus = sorted(set(content) - {field.name for field in fields(layout)})
    if surplus:
        raise InputError(f"{path}: key {surplus[0]!r} does not belong to schema {version}.")
    return layout(**content)


def _require(path: Path, content: Mapping[str, Any], dotted: str) -> None:
    here: Any = content
    for key in dotted.split("."):
        if not isinstance(here, Mapping) or key not in here:
            raise InputError(f"{path}: key {dotted!r} is missing.")
        here = here[key]


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
