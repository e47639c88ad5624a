"""Measurements composed as the command line composes them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gluelamp.backbones.heads import HeadType
    from gluelamp.experiments.measure import MeasureConfig
    from gluelamp.measurement.base import MeasuredModel

Composed = Callable[..., dict[str, Any]]
Measuring = Callable[..., "MeasureConfig"]
QUICK = (
    *("latency.rounds=3", "latency.batches=[2]", "latency.lengths=[6]", "latency.precisions=[fp32]"),
    *("flops.lengths=[6]", "memory.batches=[2]", "memory.lengths=[6]", "certificate.length=6"),
    *("certificate.blocks=5", "certificate.rounds=1"),
    *(f"{kind}.device=cpu" for kind in ("latency", "memory", "certificate")),
)


@pytest.fixture(scope="session", autouse=True)
def _modules_are_not_collected() -> Iterator[None]:
    """Exclude the imported modules from garbage collection, which precedes each timing and takes 0.2 s."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def composed() -> Composed:
    """Return a composed configuration as plain containers."""
    import hydra

    from gluelamp.cli.app import plain
    from gluelamp.package_data import CONFIGS

    @cache
    def compose(*overrides: str) -> dict[str, Any]:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return plain(hydra.compose("measure", overrides=list(overrides)))

    return lambda *overrides: deepcopy(compose(*overrides))


@pytest.fixture
def measuring(composed: Composed, tmp_path: Path) -> Measuring:
    """Return the typed configuration of a quick measurement, whose file is below ``tmp_path``."""
    from gluelamp.experiments.measure import parse_measure

    def measure(*overrides: str) -> MeasureConfig:
        raw = composed(*QUICK, *overrides)
        return parse_measure(raw | {"results": {"root": str(tmp_path)}})

    return measure


@pytest.fixture(scope="session")
def measured_model(composed: Composed) -> Callable[..., MeasuredModel]:
    """Return a method on a backbone from overrides, such as ``("minilm", "pafi", "density=0.1")``."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from gluelamp.backbones.load import BackboneConfig
    from gluelamp.experiments.config import parse_method
    from gluelamp.measurement.base import MeasuredModel

    parser = OverridesParser.create()

    # Composing takes longer than counting. All tests together compose each backbone and each method once.
    def model(backbone: str, method: str, *fields: str, head: HeadType = "two_layer") -> MeasuredModel:
        path = ["backbone.path=null"] if backbone == "tiny" else []
        shape = composed(f"backbone={backbone}", *path)["backbone"]
        options = composed(f"method={method}")["method"]
        options |= {field.key_or_group: field.value() for field in parser.parse_overrides(list(fields))}
        return MeasuredModel(BackboneConfig(**shape), parse_method(options), head)

    return model
