"""One measurement, from its configuration to its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.device import choose_device, choose_dtype
from gluelamp.backbones.load import BackboneConfig
from gluelamp.measurement.latency import LatencyConfig, measure_latency
from gluelamp.measurement.parameters import measure_parameters
from gluelamp.measurement.xpeft_bytes import measure_xpeft_bytes
from gluelamp.methods.method import Method
from gluelamp.records import SCHEMA_VERSION, Measurement, write_json
from gluelamp.runs.config import HeadConfig, ResultsConfig, parse, parse_method
from gluelamp.runs.environment import describe_device
from gluelamp.runs.identity import identity

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MeasureConfig:
    """All that defines one measurement.

    Args:
        backbone: the encoder; only its shape is needed.
        method: the recipe.
        what: count values and bytes, time the forward pass, or compare X-PEFT's masks with adapters.
        head: how the head is treated, when counting.
        latency: how to time.
        results: where results go.
        on_existing: what to do if the measurement is there already.
    """

    backbone: BackboneConfig
    method: Method
    what: Literal["parameters", "latency", "xpeft_bytes"]
    head: HeadConfig
    latency: LatencyConfig
    results: ResultsConfig
    on_existing: Literal["skip", "retrain"] = "skip"


_SECTIONS: Mapping[str, type] = {
    "backbone": BackboneConfig,
    "head": HeadConfig,
    "latency": LatencyConfig,
    "results": ResultsConfig,
}


def parse_measure(raw: Mapping[str, Any]) -> MeasureConfig:
    """Return the typed configuration of a composed one.

    Args:
        raw: nested plain containers; ``raw["method"]["_target_"]`` names the method's class.

    Raises:
        InputError: on an unknown key, a wrong type or a value out of range.
    """
    sections: dict[str, Any] = {name: parse(cls, raw.get(name, {}), name) for name, cls in _SECTIONS.items()}
    sections["method"] = parse_method(raw.get("method", {}))
    return parse(MeasureConfig, {**raw, **sections}, "")


def measure(config: MeasureConfig) -> Path:
    """Measure and write the file, or keep the file that is there.

    Returns:
        ``<root>/measurements/<what>/<backbone>/<method>-<hash>.json``; the hash is over all that
        can change the rows.

    Raises:
        InputError: if the method cannot be timed on this backbone or does not fit its size, or if the
            device is not there.
    """
    backbone, method = config.backbone, config.method
    recipe, setting = _recipe(method), _setting(config)
    name = identity({"shape": dict(backbone.shape), "method": recipe, **setting})
    folder = Path(config.results.root) / "measurements" / config.what / backbone.name
    path = folder / f"{method.name}-{name}.json"
    if path.is_file() and config.on_existing == "skip":
        _log.info("skipped, measured: %s", path)
        return path
    rows = _time(config, setting["machine"]) if config.what == "latency" else _count(config)
    measurement = Measurement(
        SCHEMA_VERSION, config.what, backbone.name, method.name, config=recipe, rows=rows
    )
    write_json(path, asdict(measurement))
    for line in map(_SUMMARIES[config.what], rows):
        _log.info("%s %s %s", backbone.name, method.name, line)
    return path


def _recipe(method: Method) -> dict[str, Any]:
    """The method's fields that can change a measurement."""
    fields = asdict(method) | {"kind": type(method).__name__}
    return {key: value for key, value in fields.items() if not key.endswith("learning_rate")}


def _setting(config: MeasureConfig) -> dict[str, Any]:
    """What else can change the rows."""
    if config.what != "latency":
        return {"train_pooler": config.head.train_pooler}
    latency = asdict(config.latency)
    device = choose_device(latency.pop("device"))
    dtype = choose_dtype(latency.pop("precision"), device)
    return {"latency": latency, "machine": describe_device(device, dtype)}


def _count(config: MeasureConfig) -> list[dict[str, Any]]:
    count = measure_parameters if config.what == "parameters" else measure_xpeft_bytes
    return count(config.backbone, config.method, config.head.train_pooler)


def _time(config: MeasureConfig, machine: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = measure_latency(config.backbone, config.method, config.latency)
    return [row | {"processor": machine["name"]} for row in rows]


def _counted(row: Mapping[str, Any]) -> str:
    if "refused" in row:
        return f"is refused: {row['refused']}"
    return (
        f"trains {row['trained']:,} values ({row['trained_pct']:.4f} %), stores "
        f"{row['stored_bytes']:,} bytes a task and {row['shared_bytes']:,} once"
    )


def _timed(row: Mapping[str, Any]) -> str:
    return (
        f"{row['state']}, batch {row['batch']}, length {row['length']}: {row['median_ms']:.2f} ms, "
        f"{row['ratio_to_base']:.3f} [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] of the base"
    )


def _compared(row: Mapping[str, Any]) -> str:
    return (
        f"stores {row['mask_bytes']:,} bytes of masks over {row['num_adapters']} adapters: 1/"
        f"{row['factor']:,.0f} of an adapter, and with heads of {row['outputs']} outputs 1/"
        f"{row['factor_with_head']:,.1f}"
    )


_SUMMARIES = {"parameters": _counted, "latency": _timed, "xpeft_bytes": _compared}
