"""Runs inside the test's own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gluelamp.training import trainer

Rows = dict[str, list[dict[str, object]]]


@pytest.fixture(autouse=True)
def _no_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each run the measurement of the machine's own rate."""
    monkeypatch.setattr(trainer, "matmul_rate", lambda *_: 1e9)


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
