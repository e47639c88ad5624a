"""Runs in the process of the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gluelamp.experiments.run import execute
from gluelamp.training import trainer

if TYPE_CHECKING:
    from gluelamp.experiments.config import RunConfig


@pytest.fixture(autouse=True, scope="module")
def _no_benchmark() -> Iterator[None]:
    """Skip the measurement of the machine's own speed in each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "matmul_rate", lambda *_: 1e9)
        yield


@pytest.fixture(scope="session")
def finished_results(tiny_config: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one finished run, the default of ``tiny_run``. Do not change it."""
    root = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "matmul_rate", lambda *_: 1e9)
        execute(tiny_config(root))
    return root


@pytest.fixture
def finished_run(finished_results: Path, tiny_run: Callable[..., RunConfig], tmp_path: Path) -> RunConfig:
    """The configuration of a run that is finished already, in the results folder of ``tiny_run``."""
    shutil.copytree(finished_results, tmp_path / "results", symlinks=True)
    return tiny_run()


@pytest.fixture
def local_cola(tmp_path: Path) -> Callable[..., Path]:
    """Write a local folder with CoLA's splits, and return it."""

    def write(folder: str = "data", **splits: list[tuple[int, str, int]]) -> Path:
        root = tmp_path / folder
        (root / "cola").mkdir(parents=True)
        for split, rows in splits.items():
            lines = (json.dumps({"idx": idx, "sentence": text, "label": label}) for idx, text, label in rows)
            (root / "cola" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return root

    return write
