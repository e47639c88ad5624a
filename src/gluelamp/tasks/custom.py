"""Tasks on rows of one's own: their declaration from a record, and from the files that a user names."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.errors import InputError, unknown
from gluelamp.records import CustomSection
from gluelamp.tasks.catalogue import TASKS, custom_task
from gluelamp.tasks.config import CustomTaskConfig, DataConfig
from gluelamp.tasks.custom_metrics import DEFAULT_METRICS, METRICS, USER_METRICS
from gluelamp.tasks.data import checked_data, fingerprint
from gluelamp.tasks.files import read_csv, read_jsonl, read_parquet
from gluelamp.tasks.sources import HubUnavailableError, read_hub
from gluelamp.tasks.tables import Reading, Table, checked_names, checked_texts, numbers, require_columns
from gluelamp.tasks.task import TaskData
from gluelamp.tasks.values import identifier, label_name

logger = logging.getLogger(__name__)

_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": read_csv,
    ".tsv": lambda path: read_csv(path, "\t"),
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}
_HUB = re.compile(r"(?P<repository>[\w.-]+(?:/[\w.-]+)?)(?::(?P<configuration>[\w.-]+))?:(?P<split>[\w.-]+)")
_MOST_CLASSES = 20  # of whole numbers whose kind is not given
_SPLIT_SEED = 0  # a seed of a run changes the training, not the data


def read_custom(config: CustomTaskConfig, data: DataConfig) -> TaskData:
    """Read the files of a task, and declare the task from its training rows.

    Args:
        config: names the files and columns.
        data: the options of the hub.

    Returns:
        The checked rows. The test rows are not in the fingerprint, so that they can be added after the
        training.

    Raises:
        InputError: if a file, a column or a value is wrong; the message names them.
    """
    paths = [Path(place) for place in (config.train, config.validation, config.test) if place]
    # Every run of a sweep asks for the same rows.
    return _read(config, data, tuple(path.stat().st_mtime_ns for path in paths if path.is_file()))


@lru_cache(maxsize=2)
def _read(config: CustomTaskConfig, data: DataConfig, modified: tuple[int, ...]) -> TaskData:
    if config.name in TASKS:
        raise InputError(
            f"task.name={config.name!r} is not allowed: a benchmark has a task of this name. Take another."
        )
    if data.source != "auto" or data.root:
        given = f"data.root={data.root}" if data.root else f"data={data.source}"
        raise InputError(
            f"{given} is not allowed with rows of your own, which come from the files that task.train and "
            "task.validation name. Leave it out."
        )
    places = {"train": config.train, "validation": config.validation, "test": config.test}
    tables = {split: _table(place, config, data, split) for split, place in places.items() if place}
    if config.validation is None:
        tables |= _held_out(tables["train"], config)
    section = _declaration(config, tables)
    task = custom_task(config.name, section)
    read = checked_data(task, Reading(tables, "custom", ", ".join(filter(None, places.values()))))
    scored = {split: rows for split, rows in read.splits.items() if split != "test"}
    return replace(read, fingerprint=fingerprint(scored), declaration=section)


def _table(place: str, config: CustomTaskConfig, data: DataConfig, split: str) -> Table:
    """Return one split with the columns ``idx``, texts and user and, except for test rows, ``label``."""
    table = _all_columns(place, data, split)
    if table.rows.empty:
        raise InputError(f"{table.origin} has no rows.")
    label = [] if split == "test" else [config.label]
    try:
        require_columns(
            table.origin, table.rows.columns, (*config.text, *filter(None, [config.user]), *label)
        )
    except InputError as error:
        raise InputError(f"{error} Name yours with task.text=[...], task.label and task.user.") from error
    columns: dict[str, Any] = {"idx": range(len(table.rows))}
    columns |= {column: checked_texts(table, column).tolist() for column in config.text}
    # Classes and users may be numbers in one file and texts in another.
    if config.user:
        columns[config.user] = checked_names(table, config.user, identifier)
    if label:
        columns["label"] = checked_names(table, config.label, label_name)
    return replace(table, rows=pd.DataFrame(columns, index=table.rows.index))


def _all_columns(place: str, data: DataConfig, split: str) -> Table:
    path = Path(place)
    on_hub = None if path.is_file() else _HUB.fullmatch(place)
    if on_hub:
        return _hub_table(place, on_hub, data)
    if path.suffix in _READERS:
        return _READERS[path.suffix](path)
    raise InputError(
        f"task.{split}={place!r} is not allowed: it must be a file whose name ends in "
        f"{', '.join(_READERS)}, or a split on the hub such as 'ORG/NAME:train'."
    )


def _hub_table(place: str, parts: re.Match[str], data: DataConfig) -> Table:
    repository, configuration, split = parts.groups()
    try:
        tables = read_hub(repository, configuration, data.revision, data.hub_timeout_s).tables
    except HubUnavailableError as error:
        raise InputError(
            f"{place} cannot be read: the Hugging Face hub did not answer within {data.hub_timeout_s:g} s. "
            "Save the split as a Parquet file where there is a network, and name that file."
        ) from error
    if split not in tables:
        raise unknown(f"split of {repository}", split, tables)
    return tables[split]


def _held_out(train: Table, config: CustomTaskConfig) -> dict[str, Table]:
    """Return the training rows in two parts; rows with equal texts are in the same part."""
    rows = train.rows
    keys = [*config.text, *([config.user] if config.user else [])]
    once = rows.drop_duplicates(keys)
    strata = _strata(once, config)
    sampled = once.groupby(strata.reindex(once.index)).sample(
        frac=config.validation_fraction, random_state=_SPLIT_SEED
    )
    if len(sampled) < 2:
        raise InputError(
            f"task.validation_fraction={config.validation_fraction:g} of the {len(rows)} rows of "
            f"{train.origin} leaves fewer than two rows to validate on. Take a larger fraction, or name a "
            "file with task.validation."
        )
    text = rows.groupby(keys, dropna=False).ngroup()
    is_held_out = text.isin(text[sampled.index])
    return {
        "train": replace(train, rows=rows[~is_held_out]),
        "validation": replace(train, rows=rows[is_held_out]),
    }


def _strata(rows: pd.DataFrame, config: CustomTaskConfig) -> pd.Series:
    """Return the part of the rows that each row represents: its user, its class, or all of them."""
    if config.user:
        return rows[config.user]
    if _is_regression(config, rows["label"]):
        return pd.Series(0, index=rows.index)
    return rows["label"]


def _is_regression(config: CustomTaskConfig, labels: pd.Series) -> bool:
    if config.kind != "auto":
        return config.kind == "regression"
    values = numbers(labels)
    return bool(values.notna().all() and ((values % 1 != 0).any() or values.nunique() > _MOST_CLASSES))


def _declaration(config: CustomTaskConfig, tables: Mapping[str, Table]) -> CustomSection:
    """Return the declaration of the task that the training rows fit."""
    train = tables["train"]
    labels = train.rows["label"]
    is_regression = _is_regression(config, labels)
    classes = [] if is_regression else _classes(labels)
    if len(classes) == 1:
        raise InputError(f"{train.origin} has one class only, {classes[0]!r}; a classification needs two.")
    if classes:
        _refuse_new_classes(tables["validation"], classes)
    if config.kind == "auto":
        logger.info("%s: %s", config.name, _reason(labels, is_regression))
    return CustomSection(
        text=config.text,
        label=config.label,
        labels=tuple(classes),
        label_range=_range(tables) if is_regression else None,
        user=config.user,
        metrics=_metrics(config, classes),
        validation_fraction=None if config.validation else config.validation_fraction,
    )


def _reason(labels: pd.Series, is_regression: bool) -> str:
    """Return a sentence on the kind that was found."""
    count = labels.nunique()
    if is_regression:
        return f"a regression on {count} different numbers (task.kind=classification makes each a class)"
    if numbers(labels).isna().any():
        return f"a classification with {count} classes"
    return f"a classification with {count} classes (task.kind=regression learns their values instead)"


def _metrics(config: CustomTaskConfig, classes: Sequence[str]) -> tuple[str, ...]:
    kind = "classification" if classes else "regression"
    known = USER_METRICS[kind] if config.user else METRICS[kind]
    metrics = config.metrics or (USER_METRICS if config.user else DEFAULT_METRICS)[kind]
    for metric in metrics:
        if metric not in known:
            raise unknown(f"metric of a {kind}{' with users' if config.user else ''},", metric, known)
    if "f1" in metrics and len(classes) != 2:
        raise InputError(f"task.metrics: f1 is of two classes, and there are {len(classes)}. Take macro_f1.")
    # A user's score is the mean of the values of their rows.
    if config.user and metrics[0] != USER_METRICS[kind][0]:
        raise InputError(f"task.metrics: with task.user the first one must be {USER_METRICS[kind][0]}.")
    return metrics


def _classes(labels: pd.Series) -> list[str]:
    """Return the class names in the order of their ids: numbers by value, other names by character."""
    names = sorted(set(labels))
    values = numbers(names)
    return names if values.isna().any() else [name for _, name in sorted(zip(values, names, strict=True))]


def _refuse_new_classes(validation: Table, classes: list[str]) -> None:
    labels = validation.rows["label"]
    validation.refuse(
        ~labels.isin(classes),
        lambda row: (
            f"label {labels.iloc[row]!r} does not occur in the training rows, whose labels are "
            f"{', '.join(classes)}."
        ),
    )


def _range(tables: Mapping[str, Table]) -> tuple[float, float]:
    labels = numbers(pd.concat([tables[split].rows["label"] for split in ("train", "validation")]))
    return float(labels.min()), float(labels.max())
