"""The experiments of measurement: each job parses, and no method is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from gluelamp.cli.sweep import sweep_jobs
from gluelamp.experiments.measure import MeasureConfig, parse_measure
from gluelamp.measurement.base import MeasuredModel
from gluelamp.package_data import CONFIGS
from methods.rows import ROWS

EXPERIMENTS = sorted(
    path
    for path in (CONFIGS / "experiment").glob("*.yaml")
    if "# gluelamp measure" in path.read_text(encoding="utf-8")
)
MERGES = {row.config: row.merges for row in reversed(ROWS) if "bert" in row.on}
each = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)


def jobs_of(experiment: Path, *keys: str) -> list[list[str]]:
    params = OmegaConf.load(experiment).hydra.sweeper.params
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        chosen = [f"{key}={value}" for key, value in params.items() if not keys or key in keys]
        return sweep_jobs(chosen)


@each
def test_each_job_parses_and_the_file_starts_with_its_command(
    composed: Callable[..., dict[str, Any]], experiment: Path
) -> None:
    command = f"# gluelamp measure -m experiment={experiment.stem}\n"
    assert command in experiment.read_text(encoding="utf-8")
    jobs = jobs_of(experiment)
    for job in (jobs[0], jobs[-1]):
        config = parse_measure(composed(f"experiment={experiment.stem}", *job))
        assert isinstance(config, MeasureConfig)
        assert config.what == experiment.stem.removesuffix("_large")


def test_every_method_is_counted() -> None:
    names = sorted(path.stem for path in (CONFIGS / "method").glob("*.yaml"))
    counted = jobs_of(CONFIGS / "experiment" / "parameters.yaml", "method")
    assert sorted(counted) == [[f"method={name}"] for name in names]


def test_every_method_that_merges_is_certified(
    composed: Callable[..., dict[str, Any]], measured_model: Callable[..., MeasuredModel]
) -> None:
    config = parse_measure(composed("experiment=certificate"))
    assert config.on_unsupported == "skip"
    jobs = jobs_of(CONFIGS / "experiment" / "certificate.yaml", "method")
    methods = [job[0].removeprefix("method=") for job in jobs]
    certified = [name for name in methods if config.kind.refusal(measured_model("minilm", name)) is None]
    assert sorted(certified) == [name for name in sorted(MERGES) if MERGES[name]]
    assert len(certified) == 23
