"""Scores over seeds, the settings that are compared in a table, and averages over tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.reporting.labels import DATA_PREFIXES, HEADS, SELECTIONS, is_shared, table_labels
from gluelamp.reporting.scores import COUNTS, SIZES, table_settings
from gluelamp.reporting.signature import with_signatures
from gluelamp.reporting.statistics import Estimate, mean_estimate, read_predictions, score_estimate
from gluelamp.tasks.catalogue import TASKS
from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.superglue import SUPERGLUE


@dataclass(frozen=True)
class BenchmarkTasks:
    """The tasks of one benchmark in tables: tasks of two benchmarks have no common table and no average.

    Args:
        title: of the benchmark.
        tasks: its tasks, in the order of tables.
        averaged: the tasks of its average.
    """

    title: str
    tasks: tuple[str, ...]
    averaged: tuple[str, ...]


AVERAGE_TASKS = tuple(task for task in GLUE if task not in ("wnli", "ax"))
"""The eight tasks of GLUE's average in papers on encoders."""
GLUE_TASKS = BenchmarkTasks("GLUE", tuple(GLUE), AVERAGE_TASKS)
SUPERGLUE_TASKS = BenchmarkTasks(
    "SuperGLUE", tuple(SUPERGLUE), tuple(task for task in SUPERGLUE if task not in ("axb", "axg"))
)
BENCHMARKS = (GLUE_TASKS, SUPERGLUE_TASKS)
SETTING_NOTE = (
    "All methods of a table have the same training settings, those of most runs, except for their learning "
    "rates and dropout, which are searched for each method, and for the preliminary phases of a method "
    "(`phases` of a record): `lt_sft` fine-tunes all weights to find its mask, `hadamard` first trains the "
    "head alone. If a method ran in several settings, the table has the one on the most tasks, then the one "
    "with the most runs, then the first by its options: never by its scores. `glue_accuracy` has all "
    "settings."
)
SCORE_COLUMNS = [
    *("data", "backbone", "head", "method", "label", "task", "seen_datasets", "metric"),
    *("epochs", "total_epochs", "selection"),
    *("seeds", "seed_set", "collapsed", "mean", "std", "low", "high", "error", "freedom", *SIZES),
    "signature",
]

SCOPE = ["data", "backbone", "head"]
"""What the runs of one table have in common: methods are never compared across these."""

_GROUP = [*SCOPE, "variant", "task", "metric", "selection"]


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Return one row per data, backbone, head, variant of a method, task, metric and selection.

    Runs with different data, fingerprints of the data or checksums of the backbone are never in one row.

    Args:
        scores: of `gluelamp.reporting.scores.score_table`, without tasks with users.

    Returns:
        the columns of one of the runs (settings, sizes, ...), and ``variant`` (the method, with what
        distinguishes its settings), ``mean``, ``median`` and ``std`` over seeds (NaN if a seed has no score),
        ``seeds``, ``seed_set``, ``folders``, ``predictions`` (None if a run has none), the number of
        ``collapsed`` runs (`Predictions.collapsed`; missing without predictions), the 95 % interval
        over examples and seeds from ``low`` to ``high``, its standard ``error`` and degrees of ``freedom``
        (NaN without predictions), and the ``signature`` (`gluelamp.reporting.signature`).
    """
    if scores.empty:
        # The tables filter by these columns, also if there is nothing to filter.
        added = ("variant", "mean", "median", "std", "seeds", "seed_set", "folders", "predictions")
        intervals = ("collapsed", "low", "high", "error", "freedom", "signature")
        return scores.reindex(columns=[*scores, *added, *intervals])
    scores = scores.assign(variant=_variants(scores))
    # The order of rows is the order of the tables: main metrics first, the strictest selection first.
    order = {
        "head": scores["head"].map(list(HEADS).index),
        "task": task_order(scores["task"]),
        "is_main": ~scores["is_main"],
        "selection": scores["selection"].map(list(SELECTIONS).index),
    }
    keys = [*SCOPE, "task", "variant", "is_main", "metric", "selection", "seed"]
    scores = scores.loc[scores.assign(**order).sort_values(keys, kind="stable").index]
    groups = (group for _, group in scores.groupby(_GROUP, sort=False))
    rows = pd.DataFrame([_over_seeds(group) for group in groups])
    return with_signatures(rows.astype(dict.fromkeys([*COUNTS, "collapsed"], "Int64")))


def task_order(tasks: pd.Series) -> pd.Series:
    """Return the positions of tasks in the order of all tasks, GLUE first; others come last."""
    places = {task: place for place, task in enumerate(TASKS)}
    return tasks.map(lambda task: places.get(task, len(places)))


def by_benchmark(rows: pd.DataFrame) -> Iterator[tuple[BenchmarkTasks, pd.DataFrame]]:
    """Yield each benchmark that has rows, with them; tasks of no benchmark (mixtures) are with GLUE."""
    for benchmark in BENCHMARKS:
        others = [task for one in BENCHMARKS if one is not benchmark for task in one.tasks]
        is_own = ~rows["task"].isin(others) if benchmark is GLUE_TASKS else rows["task"].isin(benchmark.tasks)
        if is_own.any():
            yield benchmark, rows[is_own]


def _variants(scores: pd.DataFrame) -> pd.Series:
    """Return the label of each row's run, from all runs with the same data, backbone and head."""
    # Labels depend on all runs of a table, so they are made once per run and not once per score.
    runs = scores.drop_duplicates("folder")
    tables = list(runs[SCOPE].itertuples(index=False, name=None))
    labels = table_labels(list(zip(tables, runs["method"], table_settings(runs), strict=True)))
    return scores["folder"].map(dict(zip(runs["folder"], labels, strict=True)))


def _over_seeds(group: pd.DataFrame) -> dict[str, Any]:
    """Return one row for the runs of one setting, in the order of seeds."""
    values = group["value"].to_numpy(float)
    has_score = not np.isnan(values).any()
    # The outputs of a run without a score (it diverged) have no meaningful resamples either.
    predictions = read_predictions(group) if has_score else None
    estimate = score_estimate(predictions) if predictions else None
    return {
        **group.iloc[0].drop(["seed", "value", "folder"]).to_dict(),
        "mean": values.mean(),
        "median": float(np.median(values)),
        "std": values.std(ddof=1) if len(values) > 1 else np.nan,
        **group[["live_pct", "total_epochs"]].mean().to_dict(),
        "seeds": group["seed"].nunique(),
        "seed_set": " ".join(map(str, group["seed"])),
        "folders": list(group["folder"]),
        "predictions": predictions,
        "collapsed": predictions.collapsed if predictions else None,
        **{name: getattr(estimate, name, np.nan) for name in ("low", "high", "error", "freedom")},
    }


def common_settings(
    rows: pd.DataFrame, selection: str | None = None, benchmark: BenchmarkTasks = GLUE_TASKS
) -> pd.DataFrame:
    """Return the rows of a table with one setting per label; see `SETTING_NOTE`.

    The training settings are those with the most runs. Then each task has the data with the most runs, and
    each label one setting. Different sources of data, backbones and heads are never compared.

    Args:
        rows: of `summarise`, with a column ``label``: the row of the table.
        selection: which score of a run counts; None is ``"held_out"``, or ``"best"`` if a run lacks it.
        benchmark: whose tasks are in the table.

    Returns:
        the rows of the benchmark's tasks in their main metric, by data, backbone, head, label and task.
    """
    rows = rows[rows["is_main"].astype(bool) & rows["task"].isin(benchmark.tasks)]
    scopes = [_common_settings(scope, selection) for _, scope in rows.groupby(SCOPE, sort=False)]
    return pd.concat(scopes, ignore_index=True) if scopes else rows


def _common_settings(rows: pd.DataFrame, selection: str | None) -> pd.DataFrame:
    # Every record has the last epoch: these rows count each run once, whatever the selection of the table.
    runs = rows.loc[rows["selection"] == "last"]
    settings = table_settings(runs)

    def keys(is_wanted: Callable[[str], bool]) -> list[str]:
        return ["\n".join(f"{key}={one[key]}" for key in sorted(one) if is_wanted(key)) for one in settings]

    runs = runs[["variant", "label", "task", "seeds"]].assign(
        training=keys(is_shared),
        data=keys(lambda key: key.startswith(DATA_PREFIXES)),
        setting=keys(lambda key: not key.startswith(DATA_PREFIXES)),
    )
    # First the training, for all methods at once: otherwise one method could win by more epochs. Then the
    # rows of each task, and only then the options of each method.
    runs = _most_frequent(runs, "training")
    runs = pd.concat([_most_frequent(on_task, "data") for _, on_task in runs.groupby("task")])
    runs = pd.concat([_most_tasks(one) for _, one in runs.groupby("label")])
    chosen = rows.merge(runs[["variant", "task"]], on=["variant", "task"])
    # Old records have no cross-fitted score. One table never mixes selections, so all runs must have it.
    is_strict = chosen.loc[chosen["selection"] == "held_out", "seeds"].sum() == runs["seeds"].sum()
    selection = selection or ("held_out" if is_strict else "best")
    chosen = chosen[chosen["selection"] == selection]
    place = task_order(chosen["task"])
    return chosen.assign(place=place).sort_values(["label", "place"]).drop(columns="place")


def _most_frequent(runs: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return the runs with the most frequent value of a column; then the first of them."""
    groups = dict(list(runs.groupby(key)))
    return groups[min(groups, key=lambda value: (-groups[value]["seeds"].sum(), value))]


def _most_tasks(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the setting on the most tasks, then with the most runs, then the first."""
    groups = dict(list(runs.groupby("setting")))
    return groups[
        min(groups, key=lambda one: (-groups[one]["task"].nunique(), -groups[one]["seeds"].sum(), one))
    ]


def task_averages(rows: pd.DataFrame, label: str, benchmark: BenchmarkTasks = GLUE_TASKS) -> pd.DataFrame:
    """Return averages over tasks that are comparable: over the same tasks and seeds for all methods.

    The tasks are those of the benchmark's average with a score. A method has an average if it has a score on
    all of them, with the same seeds as most of these methods (of equally frequent seeds the most seeds, then
    the first in alphabetical order).

    Args:
        rows: of `summarise`: one data, backbone and selection, main metrics, one row a label and task.
        label: the column with the names of the methods.
        benchmark: whose tasks are averaged.

    Returns:
        one row per method with an average: the column `label`, ``mean``, ``low``, ``high``, ``seeds``,
        ``collapsed`` and ``tasks`` (their names in one text); no row if there are fewer than two tasks.
    """
    scored = rows[rows["mean"].notna() & rows["task"].isin(benchmark.averaged)]
    tasks = [task for task in benchmark.averaged if task in set(scored["task"])]
    # A mean over fewer tasks, or over luckier seeds, is not comparable. Such methods have no average.
    groups = {name: group for name, group in scored.groupby(label) if len(group) == len(tasks) > 1}
    seeds = {name: tuple(group["seed_set"]) for name, group in groups.items()}
    # The choice of the seeds must not depend on the scores.
    counts = Counter(seeds.values())
    sizes = {name: group["seeds"].sum() for name, group in groups.items()}
    best = min(groups, key=lambda name: (-counts[seeds[name]], -sizes[name], seeds[name]), default=None)
    averages = [_average(groups[name], label) for name in groups if seeds[name] == seeds[best]]
    frame = pd.DataFrame(averages, columns=[label, "mean", "low", "high", "seeds", "collapsed"])
    # An empty frame has no numeric types, and rows that are concatenated with it would lose theirs
    return frame.astype(dict.fromkeys(["mean", "low", "high"], float)).assign(tasks=" ".join(tasks))


def _average(rows: pd.DataFrame, label: str) -> dict[str, Any]:
    # Tasks are independent: their errors are estimated from different rows and different runs.
    estimates = [Estimate(*row) for row in zip(rows["mean"], rows["error"], rows["freedom"], strict=True)]
    mean = mean_estimate(estimates)
    scores = {"mean": mean.value, "low": mean.low, "high": mean.high}
    counts = {"seeds": rows["seeds"].min(), "collapsed": rows["collapsed"].sum()}
    return {label: rows[label].iloc[0], **scores, **counts}
