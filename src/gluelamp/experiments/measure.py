"""One measurement, from its configuration to its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import BackboneConfig
from gluelamp.experiments.config import HeadConfig, ResultsConfig, parse_sections
from gluelamp.experiments.environment import package_versions
from gluelamp.experiments.identity import identity
from gluelamp.experiments.lock import locked
from gluelamp.experiments.measurement_cells import measure_cells
from gluelamp.measurement.certificate import Certification
from gluelamp.measurement.flops import Flops
from gluelamp.measurement.kind import Kind, Origin, Subject
from gluelamp.measurement.latency import Latency
from gluelamp.measurement.memory import Memory
from gluelamp.measurement.parameters import Parameters
from gluelamp.measurement.storage import Storage
from gluelamp.measurement.xpeft_bytes import XPeftBytes
from gluelamp.methods.base import Method
from gluelamp.records import read_json, write_json

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MeasureConfig:
    """All that defines one measurement. Each kind has a section of its own, under its name.

    Args:
        backbone: the encoder; only its shape is needed.
        method: the recipe.
        what: the kind.
        head: how the head is treated.
        parameters: values and bytes, counted.
        storage: bytes of files.
        flops: operations of a sample.
        memory: peaks of a pass and of a training step.
        latency: time of a pass.
        xpeft_bytes: X-PEFT's masks beside adapters.
        certificate: whether a merged model is as fast as the bare backbone.
        results: where results go.
        on_existing: what to do if the measurement is there already.
    """

    backbone: BackboneConfig
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
    on_existing: Literal["skip", "retrain"] = "skip"

    @property
    def kind(self) -> Kind:
        """The kind that is asked for, with its options."""
        return getattr(self, self.what)


def parse_measure(raw: Mapping[str, Any]) -> MeasureConfig:
    """Return the typed configuration of a composed one.

    Args:
        raw: nested plain containers; ``raw["method"]["_target_"]`` names the method's class.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range.
    """
    return parse_sections(MeasureConfig, raw)


def measure(config: MeasureConfig) -> Path:
    """Measure and write the file, or keep the file that is there.

    What a measurement that was stopped has measured is not measured again.

    Returns:
        ``<root>/measurements/<what>/<backbone>/<method>-<hash>.json``, or for certificates
        ``<root>/certificates/<backbone>/<method>-<hash>.json``; the hash is over all that can change
        the rows.

    Raises:
        InputError: if the method cannot be measured so on this backbone, the device is not there, the
            file that is there is damaged, or another process is at the same measurement.
        CertificateFailedError: if a certificate, new or kept, says FAIL.
    """
    kind, method, backbone = config.kind, config.method, config.backbone
    subject = Subject(backbone, method, config.head.train_pooler)
    recipe = _recipe(method)
    name = identity({"shape": dict(backbone.shape), "method": recipe, **kind.setting(subject)})
    folder = Path(config.results.root) / kind.folder.format(kind=config.what) / backbone.name
    path = folder / f"{method.name}-{name}.json"
    lock = path.with_suffix(".lock")
    with locked(lock, f"{path} is being measured"):
        if path.is_file() and config.on_existing == "skip":
            read_json(path)  # a damaged file is no measurement
            _log.info("skipped, measured: %s", path)
        else:
            cells = path.with_suffix(".cells")
            rows = measure_cells(kind, subject, cells)
            origin = Origin(config.what, backbone.name, method.name, recipe, package_versions())
            write_json(path, asdict(kind.content(origin, rows)))
            cells.unlink()
        lock.unlink()
    kind.conclude(path)
    return path


def _recipe(method: Method) -> dict[str, Any]:
    """The method's fields that can change a measurement."""
    fields = asdict(method) | {"kind": type(method).__name__}
    return {key: value for key, value in fields.items() if not key.endswith("learning_rate")}
