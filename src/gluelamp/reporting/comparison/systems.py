"""The predictions of one system: tables, samples of lm-eval, and runs of this suite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.io import file_sha256, user_path
from gluelamp.records import read_record
from gluelamp.reporting.comparison.files import (
    PredictionFile,
    Reading,
    Source,
    frame_sha256,
    numbers,
    read_table,
    require_texts,
    system_rows,
)
from gluelamp.reporting.comparison.samples import SAMPLE_COLUMNS, sample_file
from gluelamp.reporting.scores import CHECKSUM_DIGITS, score_table, table_settings
from gluelamp.reporting.signature import run_fields
from gluelamp.reporting.statistics.predictions import PREDICTIONS, outputs_of
from gluelamp.tasks.catalogue import recorded_task

RUN_COLUMNS = {"selection", "split", "idx", "label", "output_0"}
"""Of the predictions of this suite."""


def read_system(source: Source, reading: Reading) -> list[PredictionFile]:
    """Read the predictions of one system.

    Args:
        source: a table with a prediction for each id, as a file or a data frame; a file of samples of
            lm-eval; a ``predictions.parquet`` of this suite; or a folder with one or more of its runs, of
            which each is one seed.
        reading: how files are read.

    Raises:
        InputError: if the source cannot be read, or lacks a column.
    """
    if isinstance(source, pd.DataFrame):
        name, sha256 = "A data frame of predictions", frame_sha256(source)
        return [PredictionFile(name, system_rows(name, source, reading), sha256, reading.metric)]
    path = user_path(source)
    if path.is_dir():
        files = sorted(path.rglob(PREDICTIONS))
        if not files:
            raise InputError(f"{path} has no {PREDICTIONS}: give the folder of a run, or a file.")
        return _same_settings(path, [_read_file(file, reading) for file in files])
    return [_read_file(path, reading)]


def _read_file(path: Path, reading: Reading) -> PredictionFile:
    frame = read_table(path)
    sha256 = file_sha256(path)[:CHECKSUM_DIGITS]
    if set(frame) >= RUN_COLUMNS:
        return _run_file(path, frame, reading, sha256)
    if set(frame) >= SAMPLE_COLUMNS:
        return sample_file(path, frame, reading, sha256)
    return PredictionFile(str(path), system_rows(str(path), frame, reading), sha256, reading.metric)


def _run_file(path: Path, frame: pd.DataFrame, reading: Reading, sha256: str) -> PredictionFile:
    """Return the predictions of a run of this suite, with what its record states."""
    for column in ("selection", "split"):
        require_texts(str(path), frame, column)
    columns = [column for column in frame if str(column).startswith("output_")]
    frame = frame.assign(**{column: numbers(str(path), frame, column) for column in columns})
    selections = set(frame["selection"])
    selection = reading.selection or ("held_out" if "held_out" in selections else "best")
    if selection not in selections:
        raise InputError(f"{path}: {unknown('selection', selection, selections)}")
    record_path = path.parent / "record.json"
    record = read_record(record_path) if record_path.is_file() else None
    task = recorded_task(record.config.task) if record else None
    splits = task.validation_splits if task else frame["split"].unique()
    frame = frame[(frame["selection"] == selection) & (frame["split"] == splits[0])]
    order = numbers(str(path), frame, "idx").argsort(kind="stable")
    frame = frame.iloc[order]
    metric = reading.metric or (record.main_metric if record else None)
    if task:
        predictions = outputs_of(task, metric or "", frame)
    else:
        values = frame[columns].to_numpy(np.float64)
        predictions = values.argmax(axis=1) if len(columns) > 1 else values[:, 0]
    rows = pd.DataFrame({"id": frame["idx"].map(str), "prediction": predictions, "label": frame["label"]})
    if "group" in frame and (task is None or task.group_column):
        rows["group"] = frame["group"]
    if record is None:
        return PredictionFile(str(path), rows, sha256, metric)
    scores = score_table([(path.parent, record)])
    scores = scores[scores["is_main"] & (scores["selection"] == selection)]
    fields = run_fields(scores.iloc[0].to_dict(), table_settings(scores)[0]) | {"metric": metric}
    return PredictionFile(str(path), rows, sha256, metric, fields, record.config.seed)


def _same_settings(folder: Path, files: list[PredictionFile]) -> list[PredictionFile]:
    """Return the runs of a folder in the order of their seeds, if they differ in nothing else."""
    if len({json.dumps(dict(file.fields), default=str) for file in files}) > 1:
        raise InputError(
            f"{folder} has runs with different settings. The runs of one system may differ in the seed "
            "alone: give the folders of the runs, separated by commas."
        )
    return sorted(files, key=lambda file: -1 if file.seed is None else file.seed)
