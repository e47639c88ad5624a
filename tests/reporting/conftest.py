"""A factory of records, made by hand rather than by a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gluelamp.io import write_json
from gluelamp.records import FoundRun, RunRecord, read_record
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.superglue import SUPERGLUE

TASKS = GLUE | SUPERGLUE
METRICS = {name: task.metrics for name, task in TASKS.items()} | {"mnli": ("accuracy", "accuracy_mismatched")}

AddRecord = Callable[..., RunRecord]
AddMeasurement = Callable[..., Path]
AddPredictions = Callable[..., Path]
AddRun = Callable[..., FoundRun]


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
        held_out: float | None = None,
        **sections: object,
    ) -> RunRecord:
        config = {
            "backbone": {"name": backbone, "checksum": checksum},
            "method": {"name": method, **(options or {})},
            "task": {"name": task, "max_train_examples": max_train_examples},
            "data": {"fingerprint": fingerprint},
            "trainer": {"epochs": epochs},
            "head": {"train_pooler": False},
            "seed": seed,
            **sections,
        }
        identity = hashlib.sha256(json.dumps([config, source]).encode()).hexdigest()[:16]
        scores = {
            selection: {"epoch": epochs, **dict.fromkeys(METRICS[task], value)}
            for selection, value in (
                *([("held_out", held_out)] if held_out is not None else []),
                *(("best", score), ("last", score and score - 0.01)),
            )
        }
        rows = {"train": 100, "validation": 100}
        path = tmp_path / "runs" / backbone / method / task / identity / "record.json"
        content = {
            "schema_version": 1,
            "identity": identity,
            "status": "failed" if error else "complete",
            "config": config,
            "data": {"source": source, "fingerprint": fingerprint, "rows": rows, "deviations": deviations},
            "backbone": {"name": backbone, "checksum": checksum},
            "main_metric": METRICS[task][0],
            "metrics": {} if error else scores,
            "history": [],
            **{name: {} for name in ("protocol", "parameters", "bytes", "speed", "memory")},
            **{name: {} for name in ("versions", "git", "device")},
            "error": error,
        }
        write_json(path, content)
        return read_record(path)

    return add


@pytest.fixture
def add_predictions(tmp_path: Path) -> AddPredictions:
    """Write predictions next to a record, the last row first; the record may have other scores.

    Predictions are class ids, numbers, or the outputs of the head with a column per class.
    """

    def add(
        record: RunRecord,
        labels: np.ndarray,
        predictions: np.ndarray,
        selections: tuple[str, ...] = ("held_out", "best", "last"),
        split: str = "validation",
    ) -> Path:
        task = TASKS[record.config.task.name]
        outputs = task.num_outputs
        values = predictions
        if predictions.ndim == 1:
            values = predictions[:, None] if outputs == 1 else np.eye(outputs)[predictions.astype(int)]
        rows = {"split": split, "idx": np.arange(len(labels)), "label": labels}
        columns = {f"output_{number}": values[:, number] for number in range(outputs)}
        if task.group_column:
            columns["group"] = np.arange(len(labels)) // 2  # pairs of rows
        frames = [pd.DataFrame({"selection": name, **rows, **columns})[::-1] for name in selections]
        config = record.config
        names = (config.backbone.name, config.method.name, config.task.name)
        path = tmp_path.joinpath("runs", *names, record.identity, "predictions.parquet")
        present = [pd.read_parquet(path)] if path.exists() else []
        pd.concat([*present, *frames]).to_parquet(path, index=False)
        return path

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


@pytest.fixture
def add_run(tmp_path: Path, add_record: AddRecord, add_predictions: AddPredictions) -> AddRun:
    """Write one run on a task of accuracy with 100 rows, of which the first are ``wrong``; with sizes."""

    def add(
        method: str,
        task: str = "rte",
        wrong: int = 50,
        seed: int = 1,
        *,
        start: int = 0,
        live: int | None = None,
        phases: list[dict[str, Any]] | None = None,
        **changes: Any,
    ) -> FoundRun:
        sizes = {"trained": 1000, "stored": 4000, "shared": 0, "head_bytes": 80, "backbone_values": 100_000}
        sizes |= {key: changes.pop(key) for key in tuple(changes) if key in sizes}
        score = 1 - wrong / 100
        record = add_record(method, task, score, seed, held_out=score, **changes)
        path = tmp_path.joinpath("runs", record.config.backbone.name, method, task, record.identity)
        parameters = {"trained": sizes["trained"], "backbone": sizes["backbone_values"], "head": 20}
        parameters["trained_pct"] = 100 * sizes["trained"] / sizes["backbone_values"]
        if live is not None:
            parameters["live"] = live
        stored = {"method": sizes["stored"], "head": sizes["head_bytes"], "shared": sizes["shared"]}
        write_json(
            path / "record.json",
            record.model_dump(mode="json", exclude_unset=True)
            | {"parameters": parameters, "bytes": stored, "phases": phases},
        )
        labels = np.arange(100) % 2
        is_wrong = (np.arange(100) >= start) & (np.arange(100) < start + wrong)
        for split in TASKS[task].validation_splits:
            add_predictions(record, labels, np.where(is_wrong, 1 - labels, labels), split=split)
        return path, read_record(path / "record.json")

    return add
