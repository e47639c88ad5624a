"""Measurements composed as the command line composes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gluelamp.experiments.measure import MeasureConfig

Measuring = Callable[..., "MeasureConfig"]


@pytest.fixture(scope="session")
def composed() -> Callable[..., dict[str, Any]]:
    import hydra

    from gluelamp.cli.app import CONFIGS, plain

    def compose(*overrides: str) -> dict[str, Any]:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return plain(hydra.compose("measure", overrides=list(overrides)))

    return compose


@pytest.fixture
def measuring(composed: Callable[..., dict[str, Any]], tmp_path: Path) -> Measuring:
    """Return the typed configuration of a measurement; its file goes below ``tmp_path``."""
    from gluelamp.experiments.measure import parse_measure

    def measure(*overrides: str) -> MeasureConfig:
        quick = (
            *("latency.rounds=3", "latency.batches=[2]", "latency.lengths=[6]", "latency.precisions=[fp32]"),
            *("flops.lengths=[6]", "memory.batches=[2]", "memory.lengths=[6]", "certificate.length=6"),
            *("certificate.blocks=5", "certificate.rounds=1"),
            *(f"{kind}.device=cpu" for kind in ("latency", "memory", "certificate")),
        )
        return parse_measure(composed(f"results.root={tmp_path}", *quick, *overrides))

    return measure
