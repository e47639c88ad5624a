"""From runs to one row per score: over its seeds mean, median, deviation and interval."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.published import Key as PublishedCell
from gluelamp.reporting.statistics import find_cell, score_interval
from gluelamp.reporting.variants import Run, settings_of, table_labels
from gluelamp.tasks.glue import GLUE

SELECTIONS = ("held_out", "best", "last")
"""What chose the epoch, the strictest protocol first; only ``best`` and ``last`` are in every record."""

SAMPLE, SUBSET = "sample", "(subset)"

ACCURACY_COLUMNS = [
    *("data", "backbone", "method", "task", "metric"),
    *("mean", "median", "std", "low", "high"),
    *("seeds", "epochs", "selection", "published"),
]

_GROUP = ["data", "backbone", "method", "task", "metric", "selection"]
_ORDER = ["data", "backbone", "task_order", "method", "metric_order", "selection_order", "seed"]
_TASK_ORDER = {name: position for position, name in enumerate(GLUE)}


def summarise(runs: Sequence[FoundRun], published: Mapping[PublishedCell, float]) -> pd.DataFrame:
    """Return one row per data, backbone, method variant, task, metric and selection.

    Sources, fingerprints of the data and checksums of the backbone are never mixed in a row.

    Args:
        runs: complete runs, at least one.
        published: the published scores, as fractions.

    Returns:
        the columns :data:`ACCURACY_COLUMNS`, scores as fractions; ``low`` and ``high`` bound the 95 %
        interval of the mean over examples and seeds, NaN where a run kept no predictions. For the pages also
        ``name`` (the method without its variant), ``is_main`` (the task's main metric), ``seed_set`` (the
        seeds, in order) and ``cell`` (the predictions, or None).
    """
    records = [record for _, record in runs]
    labels = [data_label(record) for record in records]
    variants = table_labels([_run(*run) for run in zip(records, labels, strict=True)])
    described = enumerate(zip(records, labels, variants, strict=True))
    scores = pd.DataFrame([{**score, "run": run} for run, told in described for score in _scores(*told)])
    groups = scores.sort_values(_ORDER, kind="stable").groupby(_GROUP, sort=False)
    # a seed without a score (NaN) must not vanish from its mean
    rows = groups.agg(
        mean=("value", lambda values: values.mean(skipna=False)),
        median=("value", lambda values: values.median(skipna=False)),
        std=("value", lambda values: values.std(ddof=1, skipna=False)),
        seeds=("seed", "nunique"),
        epochs=("epochs", "first"),
        name=("name", "first"),
        is_main=("is_main", "first"),
        seed_set=("seed", tuple),
        runs=("run", list),
    ).reset_index()
    return rows.assign(**_intervals(rows, runs), published=_beside(rows, published)).drop(columns="runs")


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
    return f"{source} {SUBSET}" if is_cut or deviates else source


def is_benchmark(data: str) -> bool:
    """Return whether published scores are on the same rows: the sample has others, a subset only some."""
    return not (data.startswith(SAMPLE) or data.endswith(SUBSET))


def _run(record: RunRecord, data: str) -> Run:
    backbone, method = (record.config[section]["name"] for section in ("backbone", "method"))
    return (data, backbone), method, settings_of(record)


def _scores(record: RunRecord, data: str, variant: str) -> Iterator[dict[str, Any]]:
    config = record.config
    for selection in (name for name in SELECTIONS if name in record.metrics):
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
                "selection_order": SELECTIONS.index(selection),
                "seed": config["seed"],
                "epochs": config["trainer"]["epochs"],
                "value": float("nan") if values[metric] is None else float(values[metric]),
            }


def _intervals(rows: pd.DataFrame, runs: Sequence[FoundRun]) -> dict[str, Any]:
    described = zip(rows["runs"], rows["selection"], rows["metric"], rows["mean"], strict=True)
    cells = [
        None if pd.isna(mean) else find_cell([runs[run] for run in chosen], selection, metric)
        for chosen, selection, metric, mean in described
    ]
    intervals = [cell and score_interval(cell) for cell in cells]
    bounds = {
        bound: pd.Series([getattr(interval, bound, None) for interval in intervals], dtype=float)
        for bound in ("low", "high")
    }
    return {**bounds, "cell": pd.Series(cells, dtype=object)}


def _beside(rows: pd.DataFrame, published: Mapping[PublishedCell, float]) -> pd.Series:
    cells = zip(rows["name"], rows["backbone"], rows["task"], rows["metric"], strict=True)
    found = pd.Series([published.get(cell) for cell in cells], dtype=float)
    return found.where(rows["data"].map(is_benchmark))
