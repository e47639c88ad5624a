"""A factory of records, made by hand rather than by a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gluelamp.records import RunRecord, read_record, write_json

METRICS = {
    "cola": ("matthews_correlation",),
    "mrpc": ("accuracy", "f1"),
    "stsb": ("pearson", "spearman"),
    "mnli": ("accuracy", "accuracy_mismatched"),
    "rte": ("accuracy",),
}
ROWS = {
    "cola": {"train": 8551, "validation": 1043},
    "mrpc": {"train": 3668, "validation": 408},
    "stsb": {"train": 5749, "validation": 1500},
    "mnli": {"train": 392702, "validation_matched": 9815, "validation_mismatched": 9832},
    "rte": {"train": 2490, "validation": 277},
}

MAPPINGS = (
    *("data", "backbone", "protocol", "metrics", "parameters", "bytes"),
    *("speed", "memory", "versions", "git", "device"),
)

AddRecord = Callable[..., RunRecord]
AddMeasurement = Callable[..., Path]


@pytest.fixture
def add_record(tmp_path: Path) -> AddRecord:
    """Write one record below ``tmp_path``; ``last`` scores are 0.01 below ``best`` ones."""

    def add(
        method: str = "pafi",
        task: str = "cola",
        score: float | None = 0.5,
        seed: int = 1,
        *,
        backbone: str = "minilm_l6",
        source: str = "local",
        fingerprint: str = "f" * 64,
        checksum: str = "c" * 64,
        options: dict[str, Any] | None = None,
        epochs: int = 3,
        max_train_examples: int | None = None,
        deviations: tuple[str, ...] = (),
        error: str | None = None,
        **sections: object,
    ) -> RunRecord:
        config = {
            "backbone": {"name": backbone, "checksum": checksum},
            "method": {"name": method, **(options or {})},
            "task": {"name": task, "max_train_examples": max_train_examples},
            "data": {"fingerprint": fingerprint},
            "trainer": {"epochs": epochs},
            "head": {},
            "seed": seed,
            **sections,
        }
        identity = hashlib.sha256(json.dumps([config, source]).encode()).hexdigest()[:16]
        scores = {
            selection: {"epoch": epochs, **dict.fromkeys(METRICS[task], value)}
            for selection, value in (("best", score), ("last", score and score - 0.01))
        }
        complete = {
            "data": {
                "source": source,
                "fingerprint": fingerprint,
                "rows": ROWS[task],
                "deviations": deviations,
            },
            "backbone": {"name": backbone, "checksum": checksum},
            "metrics": scores,
            "device": {},
        }
        path = tmp_path / "runs" / backbone / method / task / identity / "record.json"
        content = {
            "schema_version": 1,
            "identity": identity,
            "status": "failed" if error else "complete",
            "config": config,
            "main_metric": METRICS[task][0],
            "history": [],
            **{field: {} for field in MAPPINGS},
            **({} if error else complete),
            "error": error,
        }
        write_json(path, content)
        return read_record(path)

    return add


@pytest.fixture
def add_measurement(tmp_path: Path) -> AddMeasurement:
    """Write one measurement below ``tmp_path``."""

    def add(
        kind: str,
        method: str,
        rows: list[dict[str, Any]],
        config: dict[str, Any] | None = None,
        backbone: str = "roberta_large",
    ) -> Path:
        config = config or {}
        name = hashlib.sha256(json.dumps(config).encode()).hexdigest()[:8]
        path = tmp_path / "measurements" / kind / backbone / f"{method}-{name}.json"
        content = {"schema_version": 1, "kind": kind, "backbone": backbone, "method": method}
        write_json(path, {**content, "config": config, "rows": rows})
        return path

    return add
