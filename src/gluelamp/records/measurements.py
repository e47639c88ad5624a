"""What was measured of a method on a backbone, without a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError, unknown
from gluelamp.io import read_json
from gluelamp.records.files import check_version, validate

# of measurements and certificates; the records of runs have their own version
SCHEMA_VERSION = 1
MERGE_TOLERANCE = 1e-5
"""Merging may change the fp32 outputs by this fraction of the largest output."""

MEASUREMENT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "parameters": (
        "trained",
        "trained_pct",
        "head",
        "stored_values",
        "stored_bytes",
        "shared_bytes",
    ),
    "storage": (
        "trained",
        "stored_values",
        "counted_bytes",
        "head_bytes",
        "task_file_bytes",
        "shared_bytes",
        "shared_file_bytes",
    ),
    "flops": (
        "state",
        "batch",
        "length",
        "flops_per_sample",
        "ratio_to_base",
    ),
    "memory": (
        "state",
        "device",
        "dtype",
        "batch",
        "length",
        "model_bytes",
        "step_bytes",
    ),
    "latency": (
        "state",
        "device",
        "processor",
        "dtype",
        "threads",
        "batch",
        "length",
        "median_ms",
        "ratio_to_base",
    ),
    "xpeft_bytes": (
        "num_adapters",
        "head",
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


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Measurement:
    """What was counted or timed for one method on one backbone, without a training run.

    Args:
        schema_version: version of this layout.
        kind: one of `MEASUREMENT_COLUMNS`.
        backbone: the backbone's name.
        method: the method's name.
        config: the method's fields.
        rows: one mapping per table row, with at least the columns of `MEASUREMENT_COLUMNS`.
        versions: version per package.
    """

    schema_version: int
    kind: str
    backbone: str
    method: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    versions: Mapping[str, Any] | None = None


@validated(frozen=True, config=ConfigDict(extra="forbid"))
class Certificate:
    """Whether a state of a method costs what the bare backbone costs, and all the evidence.

    Args:
        schema_version: version of this layout.
        backbone: the backbone's name.
        method: the method's name.
        config: the method's fields.
        state: ``"merged"`` or ``"unmerged"``.
        verdict: ``"PASS"`` or ``"FAIL"``.
        reasons: one sentence for each thing that failed.
        ratio: of the state's time to the bare backbone's, in the attempt that decided: ``estimate``, and
            the 95 % interval from ``low`` to ``high``.
        control: the same, of a second bare copy.
        protocol: what was compared, and how it was timed.
        machine: where.
        structure: modules, tensors, operators, FLOPs and outputs of both models.
        attempts: of each, ``ratio``, ``control``, and the milliseconds of every pass by block.
        versions: version per package.
    """

    schema_version: int
    backbone: str
    method: str
    config: Mapping[str, Any]
    state: str
    verdict: Literal["PASS", "FAIL"]
    reasons: Sequence[str]
    ratio: Mapping[str, float]
    control: Mapping[str, float]
    protocol: Mapping[str, Any]
    machine: Mapping[str, Any]
    structure: Mapping[str, Any]
    attempts: Sequence[Mapping[str, Any]]
    versions: Mapping[str, Any]


def find_measurements(root: Path, kind: str) -> list[Measurement]:
    """Read all measurements of one kind below a results folder, in the order of their paths.

    Args:
        root: the results folder.
        kind: one of `MEASUREMENT_COLUMNS`.

    Raises:
        InputError: if there is no such kind, or if a file is not a measurement of this schema.
    """
    if kind not in MEASUREMENT_COLUMNS:
        raise unknown("measurement", kind, MEASUREMENT_COLUMNS)
    paths = sorted((root / "measurements" / kind).glob("*/*.json"))
    return [_read_measurement(path, kind) for path in paths]


def _read_measurement(path: Path, kind: str) -> Measurement:
    content = read_json(path)
    check_version(path, content, (SCHEMA_VERSION,))
    measurement = validate(path, content, Measurement)
    if measurement.kind != kind:
        raise InputError(f"{path}: kind {measurement.kind!r} does not belong among the {kind}.")
    if not measurement.rows:
        raise InputError(f"{path}: key 'rows' is empty. Remove the file and measure again.")
    # The columns depend on the kind, so they are checked here and not by the type. Further columns are
    # allowed: a kind can add one, and tables that do not show it read the file as before.
    for position, row in enumerate(measurement.rows):
        for column in MEASUREMENT_COLUMNS[kind]:
            if column not in row:
                raise InputError(f"{path}: key 'rows.{position}.{column}' is missing.")
    return measurement


def read_certificate(path: Path) -> Certificate:
    """Read and check one certificate.

    Raises:
        InputError: if the file is not a certificate of this schema.
    """
    content = read_json(path)
    check_version(path, content, (SCHEMA_VERSION,))
    return validate(path, content, Certificate)


def find_certificates(root: Path) -> list[Certificate]:
    """Read all certificates below a results folder, in the order of their paths.

    Raises:
        InputError: if a file is not a certificate of this schema.
    """
    return [read_certificate(path) for path in sorted(root.glob("certificates/*/*.json"))]
