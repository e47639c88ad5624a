"""The page about what each method can do, from its configuration to its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from gluelamp.backbones.load import BackboneConfig
from gluelamp.cli.app import names, path, plain
from gluelamp.errors import InputError, unknown
from gluelamp.experiments.config import parse, parse_method
from gluelamp.measurement.bench import make_bench
from gluelamp.measurement.capabilities import LENGTH, find_capabilities
from gluelamp.methods.base import Method
from gluelamp.records import write_text
from gluelamp.reporting.capabilities import capabilities_page

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CapabilitiesConfig:
    """What is tried, and on what.

    Args:
        full: the shape whose bytes and FLOPs are counted.
        small: the shape that everything else is tried on.
        architectures: one backbone of each, by any name.
        methods: leaves of ``configs/method``; all of them if None.
        page: the file that is written.
    """

    full: BackboneConfig
    small: BackboneConfig
    architectures: Mapping[str, BackboneConfig]
    methods: tuple[Method, ...] = Field(min_length=1)
    page: Path


def parse_capabilities(raw: Mapping[str, Any]) -> CapabilitiesConfig:
    """Return the typed configuration of a composed one, while Hydra is at work.

    Args:
        raw: nested plain containers.

    Raises:
        InputError: on an unknown key or leaf, a wrong type or a value out of range.
    """
    sections = {
        "full": parse(BackboneConfig, raw["full"], "full"),
        "small": parse(BackboneConfig, raw["small"], "small"),
        "architectures": {
            name: parse(BackboneConfig, shape, f"architectures.{name}")
            for name, shape in raw["architectures"].items()
        },
        "methods": _methods(raw["methods"]),
        "page": _page(raw["page"]),
    }
    rest = {key: value for key, value in raw.items() if key != "results"}  # where Hydra itself writes
    return parse(CapabilitiesConfig, {**rest, **sections}, "")


def _page(value: object) -> Path:
    page = path(value, "page")
    if page.is_dir():
        raise InputError(f"page={page} is a folder; give a file, such as docs/capabilities.md.")
    return page


def _methods(value: object) -> list[Method]:
    leaves = GlobalHydra.instance().config_loader().get_group_options("method")
    chosen = names(value, "methods") if value else []
    for name in chosen:
        if name not in leaves:
            raise unknown("method", name, leaves)
    return [parse_method(plain(compose(f"method/{leaf}"))["method"]) for leaf in chosen or leaves]


def write_capabilities(config: CapabilitiesConfig) -> Path:
    """Try every method and write the page.

    Raises:
        InputError: if a method cannot serve the full or the small shape.
    """
    config.page.parent.mkdir(parents=True, exist_ok=True)  # what cannot be written is said now
    bench = make_bench(config.full, config.small, config.architectures.values())
    found = {}
    for method in config.methods:
        found[method.name] = asdict(find_capabilities(method, bench))
        _log.info("tried %s", method.name)
    write_text(config.page, capabilities_page(found, config.full.name, config.small.name, LENGTH))
    return config.page
