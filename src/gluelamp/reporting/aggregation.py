"""From the records of runs to one row per score: mean and deviation over seeds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.published import Cell
from gluelamp.reporting.variants import Run, settings_of, variant_labels
from gluelamp.tasks.glue import GLUE

SELECTIONS = ("best", "last")
SAMPLE = "sample"

_GROUP = ["data", "backbone", "method", "task", "metric", "selection"]
_ORDER = ["data", "backbone", "task_order", "method", "metric_order", "selection", "seed"]
_TASK_ORDER = {name: position for position, name in enumerate(GLUE)}


def summarise(records: Sequence[RunRecord], published: Mapping[Cell, float]) -> pd.DataFrame:
    """Return one row per data, backbone, method variant, task, metric and selection.

    Sources, fingerprints of the data and checksums of the backbone are never mixed in a row.

    Args:
        records: complete runs, at least one.
        published: the published scores, as fractions.

    Returns:
        the columns of ``glue_accuracy.csv``, scores as fractions, and for the pages ``name`` (the
        method without its variant), ``is_main`` (the task's main metric) and ``examples``
        (evaluated rows).
    """
    labels = [data_label(record) for record in records]
    variants = variant_labels([_run(*run) for run in zip(records, labels, strict=True)])
    runs = zip(records, labels, variants, strict=True)
    scores = pd.DataFrame([score for run in runs for score in _scores(*run)])
    groups = scores.sort_values(_ORDER, kind="stable").groupby(_GROUP, sort=False)
    # a seed without a score (NaN) must not vanish from its mean
    rows = groups.agg(
        mean=("value", lambda values: values.mean(skipna=False)),
        std=("value", lambda values: values.std(ddof=1, skipna=False)),
        seeds=("seed", "nunique"),
        epochs=("epochs", "first"),
        name=("name", "first"),
        is_main=("is_main", "first"),
        examples=("examples", "min"),
    ).reset_index()
    cells = zip(rows["name"], rows["backbone"], rows["task"], rows["metric"], strict=True)
    rows["published"] = pd.Series([published.get(cell) for cell in cells], dtype=float)
    # the sample only shares its tasks' names with the benchmark
    rows.loc[rows["data"].str.startswith(SAMPLE), "published"] = float("nan")
    return rows


def data_label(record: RunRecord) -> str:
    """Return the source of a run's data, flagged where the run did not see all of it.

    Args:
        record: a complete run.

    Returns:
        ``"hub"``, ``"local"`` or ``"sample"``, followed by ``" (subset)"`` if the configuration
        cuts a split short or the data deviate from the official training or validation rows.
    """
    source = record.data["source"]
    settings = record.config["task"].items()
    is_cut = any(re.fullmatch("max_.*_examples", key) and value is not None for key, value in settings)
    deviates = any(re.match("train|validation", sentence) for sentence in record.data["deviations"])
    return f"{source} (subset)" if is_cut or deviates else source


def _run(record: RunRecord, data: str) -> Run:
    names = [record.config[section]["name"] for section in ("backbone", "method", "task")]
    return (data, *names), names[1], settings_of(record)


def _scores(record: RunRecord, data: str, variant: str) -> Iterator[dict[str, Any]]:
    config = record.config
    for selection in SELECTIONS:
        values = record.metrics[selection]
        others = [metric for metric in values if metric not in ("epoch", record.main_metric)]
        for position, metric in enumerate([record.main_metric, *others]):
            yield {
                "data": data,
                "backbone": config["backbone"]["name"],
                "method": variant,
                "name": config["method"]["name"],
                "task": config["task"]["name"],
                "task_order": _TASK_ORDER.get(config["task"]["name"], len(_TASK_ORDER)),
                "metric": metric,
                "metric_order": position,
                "is_main": position == 0,
                "selection": selection,
                "seed": config["seed"],
                "epochs": config["trainer"]["epochs"],
                "value": float("nan") if values[metric] is None else float(values[metric]),
                "examples": _examples(record, metric),
            }


def _examples(record: RunRecord, metric: str) -> float:
    rows = record.data["rows"]
    mnli = "validation_mismatched" if metric.endswith("_mismatched") else "validation_matched"
    return float(rows.get("validation", rows.get(mnli, "nan")))
