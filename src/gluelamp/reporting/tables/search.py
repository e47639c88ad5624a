"""The search of each method's options: the best trial, and the expected best score of fewer trials."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import comb
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.labels import HEADS, SEARCHED, is_shared, plural, task_name
from gluelamp.reporting.rendering import (
    COUNT,
    POINTS,
    Cell,
    Format,
    Number,
    Page,
    Table,
    Text,
    numbers,
    texts,
)
from gluelamp.reporting.scores import CHECKSUM_DIGITS, data_label, is_trial, run_settings
from gluelamp.tasks.catalogue import TASKS

BUDGETS = (1, 4, 12)
"""Numbers of trials whose expected best score is printed."""
SCOPE = ["data", "backbone", "head", "train_rows", "scored_rows", "epochs", "seed", "settings"]
"""What the trials of one search share; ``settings`` is a checksum of all their common settings."""

_RESAMPLES = 2000
_SEED = 0
_SECONDS = Format(decimals=0)
_READING = (
    "A trial trains one point of the search space in a method's config; the points are in a fixed random "
    "order. All methods have the same number of trials, rows and epochs. Scores are times 100, at the last "
    "epoch, on rows of the training split that no trial trained on: ROC AUC on tasks with two classes, "
    "otherwise the main metric. *score* is the mean over tasks of the best trial, whose options are the "
    "defaults of the method's config. Of equal trials the first by its options is taken. A trial that "
    "diverged scores 0 on its task.",
    "*best of k* is the expected best score of k of these trials, chosen at random without replacement, as "
    "in Dodge et al. (EMNLP 2019), with a 95 % interval from the bootstrap over trials. The interval does "
    "not cover seeds: every trial has the same one. *seconds* is the mean training time of a trial.",
)


def trial_rows(runs: Sequence[FoundRun]) -> pd.DataFrame:
    """Return one row per trial: its method, its options, and its score on each task.

    Args:
        runs: of a results folder of a search; runs that are scored on other rows are skipped.

    Returns:
        the columns `SCOPE`, ``method``, ``family``, ``options`` (all options that may be the trial's own, as
        text by dotted key), ``scores`` by task, ``score`` (their mean) and ``seconds`` of training on all
        tasks. A trial that lacks a task of its scope is left out. Trials of one scope and method are in the
        order of their scores, the best first.
    """
    trials: dict[tuple[Any, ...], dict[str, Any]] = {}
    tasks: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for record in (record for _, record in runs if is_trial(record)):
        settings = run_settings(record)
        scope, task = _scope(record, settings), record.config.task.name
        options = {key: value for key, value in settings.items() if _is_option(key)}
        trial = {"method": record.config.method.name, "family": record.family, "options": options}
        key = (scope, trial["method"], tuple(sorted(options.items())))
        empty = {**dict(zip(SCOPE, scope, strict=True)), **trial, "scores": {}, "seconds": 0.0}
        trials.setdefault(key, empty)["scores"][task] = _score(record)
        trials[key]["seconds"] += record.speed.get("train_seconds") or 0.0
        tasks[scope].add(task)
    complete = [
        {**trials[key], "score": fmean(trials[key]["scores"].values())}
        for key in sorted(trials)
        if set(trials[key]["scores"]) == tasks[key[0]]
    ]
    columns = [*SCOPE, "method", "family", "options", "scores", "score", "seconds"]
    rows = pd.DataFrame(complete, columns=columns).sort_values("score", ascending=False, kind="stable")
    # stable: equal scores stay in the order of their options
    return rows.sort_values([*SCOPE, "method"], kind="stable", ignore_index=True)


def _is_option(key: str) -> bool:
    return key in SEARCHED or key.startswith("method.")


def _scope(record: RunRecord, settings: Mapping[str, str]) -> tuple[Any, ...]:
    task, of_task = record.config.task, ("task.name", "task.initial_head_bias")
    shared = {key: value for key, value in settings.items() if is_shared(key) or key.startswith("task.")}
    text = json.dumps([item for item in sorted(shared.items()) if item[0] not in of_task])
    return (
        *(data_label(record), record.config.backbone.name, settings["head.type"]),
        *(task.max_train_examples or 0, task.validation_from_train, record.config.trainer.epochs),
        *(record.config.seed, sha256(text.encode()).hexdigest()[:CHECKSUM_DIGITS]),
    )


def _score(record: RunRecord) -> float:
    if record.status == "failed":
        return 0.0
    last = record.metrics["last"]
    value = last.get("roc_auc", last[record.main_metric])
    return 0.0 if value is None else float(value)


def expected_best(scores: np.ndarray, trials: int) -> np.ndarray:
    """Return the expected best score of some trials, chosen at random without replacement.

    Of n sorted scores the i-th is the best of k with probability C(i - 1, k - 1) / C(n, k).

    Args:
        scores: of all n trials, shape (..., n).
        trials: k, at most n.

    Returns:
        shape (...).
    """
    n = scores.shape[-1]
    weights = np.array([comb(below, trials - 1) for below in range(n)], float) / comb(n, trials)
    return np.sort(scores, axis=-1) @ weights


def search_rows(trials: pd.DataFrame) -> pd.DataFrame:
    """Return one row per scope, method and number of trials k, from 1 to all.

    Args:
        trials: of `trial_rows`.

    Returns:
        the columns `SCOPE`, ``method``, ``family``, ``trials`` (all), ``k``, ``expected``, ``low``, ``high``
        (the expected best score of k trials and its interval), ``score`` (of the best trial), ``options``
        (those of `best_options`, as words of a command line), ``seconds`` (mean per trial), and the best
        trial's score on each task.
    """
    rows = [row for _, group in trials.groupby([*SCOPE, "method"], sort=False) for row in _method_rows(group)]
    return pd.DataFrame(rows)


def _method_rows(trials: pd.DataFrame) -> Iterator[dict[str, Any]]:
    best, scores = trials.iloc[0], trials["score"].to_numpy()
    common = {
        **{column: best[column] for column in (*SCOPE, "method", "family")},
        "trials": len(trials),
        "options": " ".join(f"{key}={value}" for key, value in best_options(trials).items()),
        "score": best["score"],
        "seconds": trials["seconds"].mean(),
    }
    resamples = np.random.default_rng(_SEED).choice(scores, (_RESAMPLES, len(scores)))
    for k in range(1, len(scores) + 1):
        low, high = np.percentile(expected_best(resamples, k), [2.5, 97.5])
        expected = {"k": k, "expected": expected_best(scores, k), "low": low, "high": high}
        yield {**common, **expected, **best["scores"]}


def best_options(trials: pd.DataFrame) -> dict[str, str]:
    """Return the searched options of the best trial of a method: the defaults of its config.

    Args:
        trials: of `trial_rows`, of one scope and method.

    Returns:
        the learning rates and the dropout, and the options of the method in which its trials differ, as text
        by dotted key.
    """
    options = trials["options"].tolist()
    keys = sorted({key for one in options for key in one})
    return {
        key: options[0][key]
        for key in keys
        if key in options[0] and (key in SEARCHED or len({one.get(key) for one in options}) > 1)
    }


def search_page(rows: pd.DataFrame) -> Page:
    """Return the page of `search_rows`."""
    tables = [_table(scope) for _, scope in rows.groupby(SCOPE, sort=False)]
    return Page("search", "Search of the methods' options", _READING, rows, tables)


def _table(rows: pd.DataFrame) -> Table:
    tasks = [task for task in TASKS if task in rows and rows[task].notna().any()]
    budgets = [k for k in BUDGETS if k <= rows["k"].max()]
    lines: list[list[Cell]] = []
    for method, curve in rows.groupby("method", sort=False):
        first, by_k = curve.iloc[0], curve.set_index("k")
        line: list[Cell] = [Text(str(method)), Text(first["options"]), Number(first["trials"], COUNT)]
        line += [Number(first[column], POINTS) for column in (*tasks, "score")]
        line += [_expected(by_k.loc[k]) if k in by_k.index else Text("") for k in budgets]
        lines.append([*line, Number(first["seconds"], _SECONDS)])
    titles = [*map(task_name, tasks), "score", *(f"best of {k}" for k in budgets), "seconds"]
    return Table(search_title(rows), [*texts("method", "options"), *numbers("trials", *titles)], lines)


def _expected(row: pd.Series) -> Number:
    return Number(row["expected"], POINTS, low=row["low"], high=row["high"])


def search_title(rows: pd.DataFrame) -> str:
    """Return the title of one search, of rows of `search_rows` with one scope."""
    first = rows.iloc[0]
    trained = f"{first['train_rows']:,}" if first["train_rows"] else "all"
    return (
        f"{first['backbone']}, {HEADS[first['head']]}, {first['data']}: trained on {trained} rows, "
        f"{plural(first['epochs'], 'epoch')}, scored on {first['scored_rows']:,} others"
    )
