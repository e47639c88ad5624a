"""One measurement, from its configuration to its file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import BackboneConfig
from gluelamp.errors import InputError
from gluelamp.experiments.config import HeadConfig, ResultsConfig, parse_sections
from gluelamp.experiments.identity import identity
from gluelamp.experiments.record import package_versions
from gluelamp.experiments.status import Status, report
from gluelamp.io import locked, read_json, write_json
from gluelamp.measurement.base import MeasuredModel, MeasurementKind, RecordHeader, Row
from gluelamp.measurement.certificate import Certification
from gluelamp.measurement.flops import Flops
from gluelamp.measurement.latency import Latency
from gluelamp.measurement.memory import Memory
from gluelamp.measurement.parameters import Parameters, Storage
from gluelamp.measurement.xpeft_bytes import XPeftBytes
from gluelamp.methods.base import Method
from gluelamp.records.files import Name

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MeasureConfig:
    """The configuration of one measurement. Each kind has its own section, under its name.

    Args:
        backbone: the encoder; only its shape is needed.
        method_name: the method's name in tables and folders, from ``method.name``.
        method: the method with its hyper-parameters.
        what: the kind of measurement.
        head: options of the task head.
        parameters: options of the counts of values and bytes.
        storage: options of the sizes of files.
        flops: options of the FLOPs.
        memory: options of the peak memory.
        latency: options of the time of a forward pass.
        xpeft_bytes: options of the bytes of X-PEFT's masks.
        certificate: options of the certificate of zero added latency.
        results: the results folder.
        seed: the value of options that follow the seed of a run, such as ``method.mask_seed``.
        on_existing: what to do if the measurement exists.
        on_unsupported: what to do if the method does not support the measurement. A sweep over all methods
            skips those that do not.
    """

    backbone: BackboneConfig
    method_name: Name
    method: Method
    what: Literal["parameters", "storage", "flops", "memory", "latency", "xpeft_bytes", "certificate"]
    head: HeadConfig
    parameters: Parameters
    storage: Storage
    flops: Flops
    memory: Memory
    latency: Latency
    xpeft_bytes: XPeftBytes
    certificate: Certification
    results: ResultsConfig
    seed: int = 0
    on_existing: Literal["skip", "retrain"] = "skip"
    on_unsupported: Literal["skip", "fail"] = "fail"

    @property
    def kind(self) -> MeasurementKind:
        """The requested kind, with its options."""
        return getattr(self, self.what)


def parse_measure(raw: Mapping[str, Any]) -> MeasureConfig:
    """Return the typed configuration of a composed one.

    Args:
        raw: nested plain containers; ``raw["method"]["_target_"]`` names the method's class.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range.
    """
    return parse_sections(MeasureConfig, raw)


def measure(config: MeasureConfig) -> Path | None:
    """Measure and write the file, or skip a measurement that exists.

    An interrupted measurement resumes with its unfinished parts.

    Returns:
        The path of the file, from `measurement_path`; None if the method does not support the measurement and
        ``on_unsupported`` is ``skip``.

    Raises:
        InputError: if the method does not support this measurement on this backbone, the device is not
            available, an existing file is damaged, or another process is running the same measurement.
        CertificateFailedError: if the result of a certificate, new or old, is FAIL.
    """
    kind, backbone = config.kind, config.backbone
    model = MeasuredModel(backbone, config.method, config.head.type)
    if (reason := kind.refusal(model)) is not None:
        if config.on_unsupported == "fail":
            raise InputError(f"what={config.what} does not support method={config.method_name}: {reason}")
        _log.info("skipped, not supported: %s %s: %s", backbone.name, config.method_name, reason)
        return None
    path = measurement_path(config)
    lock = path.with_suffix(".lock")
    with locked(lock, f"{path} is being measured"):
        if path.is_file() and config.on_existing == "skip":
            read_json(path)  # raises if the file is damaged
            _log.info("skipped, measured: %s", path)
        else:
            unfinished = path.with_suffix(".parts")
            rows = measure_parts(kind, model, unfinished, f"{backbone.name} {config.method_name}")
            header = RecordHeader(
                config.what, backbone.name, config.method_name, _method_content(config), package_versions()
            )
            write_json(path, asdict(kind.record(header, rows)))
            # after the file is written: a measurement that is killed before resumes from its parts
            unfinished.unlink()
        # Unlike a run, a measurement removes its lock: a process that locks a new one finds the file.
        lock.unlink()
    # also for a file that was skipped, so that a certificate that failed fails every time
    kind.conclude(path)
    return path


def measurement_path(config: MeasureConfig) -> Path:
    """Return the path of a measurement's file, ``<root>/<folder>/<backbone>/<method>-<hash>.json``.

    The folder is ``measurements/<what>``, or ``certificates``. The hash covers everything that can change
    the rows: the backbone's shape, the method with its hyper-parameters, and the settings of the kind. Its
    content must not change, or existing measurements would no longer be found.
    """
    kind, backbone = config.kind, config.backbone
    settings = kind.settings(MeasuredModel(backbone, config.method, config.head.type))
    name = identity({"shape": dict(backbone.shape), "method": _method_content(config), **settings})
    folder = Path(config.results.root) / kind.folder.format(kind=config.what) / backbone.name
    return folder / f"{config.method_name}-{name}.json"


def _method_content(config: MeasureConfig) -> dict[str, Any]:
    """Return the method's name, class and hyper-parameters: all of it that can change a measurement."""
    # the learning rates of preliminary phases change neither sizes nor speed
    fields = {key: value for key, value in asdict(config.method).items() if not key.endswith("learning_rate")}
    return fields | {"name": config.method_name, "kind": type(config.method).__name__}


def measure_parts(kind: MeasurementKind, model: MeasuredModel, path: Path, name: str) -> list[Row]:
    """Measure the unfinished parts, and return the rows of all parts in the order of measurement.

    Args:
        kind: the kind of measurement with its options.
        model: the model under measurement.
        path: a JSON file with the rows of the finished parts. It is written after each part, so that an
            interrupted measurement loses one part at most. The caller removes it.
        name: of the model, for the progress bar and the log.

    Raises:
        InputError: if the file is damaged.
    """
    finished: dict[str, list[Row]] = read_json(path) if path.is_file() else {}
    while True:
        rows = [row for part_rows in finished.values() for row in part_rows]
        # asked again after each round: a certificate adds parts while its timing is inconclusive
        parts = {json.dumps(part, sort_keys=True): part for part in kind.parts(rows)}
        missing = {key: part for key, part in parts.items() if key not in finished}
        report(Status(name, len(finished), len(parts), f"{len(finished)} of {len(parts)} parts"))
        if not missing:
            return rows
        measured = kind.measure(model, list(missing.values()))
        for key, part_rows in zip(missing, measured, strict=True):
            finished[key] = part_rows
            write_json(path, finished)
            report(Status(name, len(finished), len(parts), f"{len(finished)} of {len(parts)} parts"))
            for row in part_rows:
                _log.info("%s %s", name, kind.summarise(row))
