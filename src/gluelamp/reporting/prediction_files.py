"""Reads the predictions of any program: tables with an id, samples of lm-eval, and folders of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.io import file_sha256
from gluelamp.records import read_record
from gluelamp.reporting.scores import CHECKSUM_DIGITS, score_table, table_settings
from gluelamp.reporting.signature import run_fields
from gluelamp.reporting.statistics.metrics import MEAN
from gluelamp.reporting.statistics.predictions import PREDICTIONS, outputs_of
from gluelamp.tasks.catalogue import recorded_task

Source: TypeAlias = str | Path | pd.DataFrame

ROLES = {
    "id": ("id", "idx", "index", "doc_id"),
    "prediction": ("prediction", "predictions", "pred"),
    "label": ("label", "labels", "gold", "target"),
    "group": (),
}
"""The columns that are read, and the names that are looked for where none is given."""
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
RUN_COLUMNS = {"selection", "split", "idx", "label", "output_0"}
"""Of the predictions of this suite."""
SAMPLE_COLUMNS = {"doc_id", "target", "filtered_resps"}
"""Of the samples of lm-evaluation-harness."""
# The other keys of a sample are its scores.
_NO_SCORES = {"doc", "arguments", "resps", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash"}
_PAIR_METRICS = {"f1": "f1", "mcc": "matthews_correlation"}
"""The metrics of lm-eval whose value of a row is a label and a prediction."""


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        columns: names of columns by role (`ROLES`); several names, of which a file has one, are separated by
            commas.
        metric: its name; None for that of the files.
        has_gold: whether the labels are in a file of their own.
        selection: which predictions of a run; None for the strictest that it has.
        filter: which answers of lm-eval's samples.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    has_gold: bool = False
    selection: str | None = None
    filter: str | None = None


@dataclass(frozen=True)
class PredictionFile:
    """The predictions of one system, with one seed.

    Args:
        name: of the file, for messages.
        rows: ``id`` as text, ``prediction``, ``label`` and ``group``; the last two only where they exist.
        sha256: of the content, its first digits.
        metric: that is computed; None if neither the user nor the file names one.
        fields: of the signature, as far as the file states them.
        seed: of a run.
    """

    name: str
    rows: pd.DataFrame
    sha256: str
    metric: str | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    seed: int | None = None


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
        name = "A data frame of predictions"
        rows = _table_rows(name, source, reading, ("id", "prediction"), ("label", "group"))
        return [PredictionFile(name, rows, _frame_sha256(source), reading.metric)]
    path = Path(source)
    if path.is_dir():
        files = sorted(path.rglob(PREDICTIONS))
        if not files:
            raise InputError(f"{path} has no {PREDICTIONS}: give the folder of a run, or a file.")
        return _same_settings(path, [_read_file(file, reading) for file in files])
    return [_read_file(path, reading)]


def read_gold(source: Source, reading: Reading) -> PredictionFile:
    """Read the labels of all systems from a table with a label for each id.

    Raises:
        InputError: if the source cannot be read, or lacks a column.
    """
    if isinstance(source, pd.DataFrame):
        name, frame, sha256 = "a data frame of labels", source, _frame_sha256(source)
    else:
        name, frame = str(source), read_table(Path(source))
        sha256 = file_sha256(Path(source))[:CHECKSUM_DIGITS]
    return PredictionFile(name, _table_rows(name, frame, reading, ("id", "label"), ("group",)), sha256)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV, JSON lines or Parquet file; values of CSV and TSV files stay text.

    Raises:
        InputError: if the file does not exist, is of another type, or is damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file or folder.")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} has an unknown type. Allowed: {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".jsonl":
            return pd.DataFrame(_json_lines(path))
        # Only an empty cell is missing: "None" and "NA" are labels in some data sets.
        separator = "\t" if path.suffix == ".tsv" else ","
        return pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:  # the errors of pandas and pyarrow are subclasses
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as {path.suffix[1:].upper()}: {reason}.") from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is not an object")
                yield row


def _read_file(path: Path, reading: Reading) -> PredictionFile:
    frame = read_table(path)
    sha256 = file_sha256(path)[:CHECKSUM_DIGITS]
    if set(frame) >= RUN_COLUMNS:
        return _run_file(path, frame, reading, sha256)
    if set(frame) >= SAMPLE_COLUMNS:
        return _sample_file(path, frame, reading, sha256)
    rows = _table_rows(str(path), frame, reading, ("id", "prediction"), ("label", "group"))
    return PredictionFile(str(path), rows, sha256, reading.metric)


def _table_rows(
    name: str, frame: pd.DataFrame, reading: Reading, needed: Sequence[str], optional: Sequence[str]
) -> pd.DataFrame:
    """Return the columns of a table by role."""
    found = {}
    for role in (*needed, *optional):
        given = reading.columns.get(role)
        names = given.split(",") if given else ROLES[role]
        present = [column for column in names if column in frame]
        # A column that was named must exist, except for labels and groups that are in another file.
        if not present and (role in needed or (given and not reading.has_gold)):
            if given:
                raise InputError(f"{name}: {unknown('column', given, map(str, frame))}")
            raise InputError(
                f"{name} has no column {' or '.join(names)}; name the column with {role}=COLUMN. "
                f"Its columns: {', '.join(map(str, frame))}."
            )
        if present:
            found[role] = frame[present[0]]
    return pd.DataFrame(found).assign(id=found["id"].map(str)) if "id" in found else pd.DataFrame(found)


def _run_file(path: Path, frame: pd.DataFrame, reading: Reading, sha256: str) -> PredictionFile:
    """Return the predictions of a run of this suite, with what its record states."""
    selections = set(frame["selection"])
    selection = reading.selection or ("held_out" if "held_out" in selections else "best")
    if selection not in selections:
        raise InputError(f"{path}: {unknown('selection', selection, selections)}")
    record_path = path.parent / "record.json"
    record = read_record(record_path) if record_path.is_file() else None
    task = recorded_task(record.config.task) if record else None
    splits = task.validation_splits if task else frame["split"].unique()
    frame = frame[(frame["selection"] == selection) & (frame["split"] == splits[0])]
    frame = frame.sort_values("idx", kind="stable")
    metric = reading.metric or (record.main_metric if record else None)
    columns = [column for column in frame if str(column).startswith("output_")]
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


def _sample_file(path: Path, frame: pd.DataFrame, reading: Reading, sha256: str) -> PredictionFile:
    """Return the predictions or the scores of samples of lm-eval.

    A metric of the file gives its own scores of the rows, or pairs of label and prediction; any other metric
    is computed from the answers (``filtered_resps``) and the targets.
    """
    if "filter" in frame:
        filters = frame["filter"].unique().tolist()
        if len(filters) > 1 and reading.filter is None:
            raise InputError(
                f"{path} has several answers for each id; give filter={' or filter='.join(filters)}."
            )
        if reading.filter is not None and reading.filter not in filters:
            raise InputError(f"{path}: {unknown('filter', reading.filter, filters)}")
        frame = frame[frame["filter"] == (reading.filter or filters[0])]
    rows = pd.DataFrame({"id": frame["doc_id"].map(str), "label": frame["target"]})
    own = [str(column) for column in frame if column not in SAMPLE_COLUMNS | _NO_SCORES]
    metric = reading.metric or (own[0] if own and not reading.has_gold else "accuracy")
    fields = {"metric": metric}
    if metric not in own or reading.has_gold:
        answers = frame["filtered_resps"].map(_answer)
        return PredictionFile(str(path), rows.assign(prediction=answers), sha256, metric, fields)
    values = frame[metric]
    if (
        values.map(lambda value: isinstance(value, list) and len(value) == 2).all()
        and metric in _PAIR_METRICS
    ):
        pairs = pd.DataFrame(values.tolist(), index=rows.index, columns=["label", "prediction"])
        return PredictionFile(str(path), pairs.assign(id=rows["id"]), sha256, _PAIR_METRICS[metric], fields)
    numbers = pd.to_numeric(values.map(lambda value: np.nan if isinstance(value, list) else value), "coerce")
    if not numbers.between(0, 1).all():
        raise InputError(
            f"{path}: the values of {metric!r} are not scores between 0 and 1. Other scores of the file: "
            f"{', '.join(name for name in own if name != metric) or 'none'}."
        )
    return PredictionFile(str(path), rows.assign(prediction=numbers), sha256, MEAN, fields)


def _answer(responses: Any) -> object:
    """Return the answer of one sample: the place of the most probable choice, or the text."""
    # One [log-likelihood, is greedy] for each choice of a question, all of them as text.
    if responses and all(isinstance(one, list) and len(one) == 2 for one in responses):
        return int(np.argmax([float(likelihood) for likelihood, _ in responses]))
    first = responses[0] if isinstance(responses, list) and responses else responses
    return first[0] if isinstance(first, list) and first else first


def _frame_sha256(frame: pd.DataFrame) -> str:
    text = cast("str", frame.to_csv(index=False))
    return hashlib.sha256(text.encode()).hexdigest()[:CHECKSUM_DIGITS]
