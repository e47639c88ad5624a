"""Paired comparison of systems from their predictions: scores, differences, p-values and signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from gluelamp import __version__
from gluelamp.errors import InputError, unknown
from gluelamp.reporting.comparison.files import PredictionFile, Reading, Source, read_gold
from gluelamp.reporting.comparison.matching import METRICS, encode, match_rows
from gluelamp.reporting.comparison.systems import read_system
from gluelamp.reporting.signature import bootstrap_fields, parse_signature, signature
from gluelamp.reporting.statistics import LEVEL, RESAMPLES, Predictions, compare_all, score_estimate
from gluelamp.reporting.statistics.metrics import ERRORS, MEAN

COLUMNS = [
    *("system", "score", "low", "high", "seeds", "collapsed"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "verdict"),
    *("metric", "signature"),
]
"""Of the table that `compare` returns."""


def compare(
    systems: Mapping[str, Source | Sequence[Source]],
    labels: Source | None = None,
    *,
    metric: str | None = None,
    baseline: str | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str = "1",
    selection: str | None = None,
    filter: str | None = None,
    resamples: int = RESAMPLES,
    confidence: float = LEVEL,
) -> pd.DataFrame:
    """Compare the predictions of systems on the same examples.

    The predictions may be those of any program. Rows are matched by their ids, and resampled by one bootstrap
    for all systems, so that differences are paired (`gluelamp.reporting.statistics`).

    Args:
        systems: predictions by name of the system: a path or a data frame, or several, one for each seed. A
            path is a CSV, TSV, JSON lines or Parquet file, a file of samples of lm-eval, a
            ``predictions.parquet`` of this suite, or a folder with runs of it.
        labels: a file or data frame with the label of each id; None if the files have a column of labels.
        metric: accuracy, macro_f1, matthews_correlation, f1, roc_auc, exact_match, gender_parity, pearson,
            spearman, mae or rmse, or a score of lm-eval's samples; None for the main metric of the runs, the
            first score of the samples, or else accuracy.
        baseline: the system that the others are compared with; None for the first.
        columns: names of columns by role: ``id``, ``prediction``, ``label`` and ``group``. Rows of a group
            are resampled together. By default, usual names are looked for
            (`gluelamp.reporting.comparison.files.ROLES`).
        positive: the class of which f1 and roc_auc are.
        selection: of the epoch of runs: ``held_out``, ``best`` or ``last``; None for the first that exists.
        filter: which answers of samples with several filters.
        resamples: number of bootstrap samples.
        confidence: level of the intervals; a difference is significant at 1 - confidence.

    Returns:
        One row per system, in their order: ``system``, ``score`` with its interval from ``low`` to ``high``,
        the number of ``seeds`` (files), and of those that are ``collapsed`` (one prediction on nearly all
        rows); ``difference`` to the baseline with its interval from ``difference_low`` to
        ``difference_high``, ``p``, ``p_holm`` and ``verdict`` (``better``, ``worse`` or ``tie``), all of them
        empty for the baseline; ``metric`` and ``signature``. Scores are fractions, for mae and rmse in the
        units of the labels.

    Raises:
        InputError: if a file cannot be read, if ids or labels do not match, or if an option is not allowed.
    """
    baseline = _checked_baseline(list(systems), baseline)
    if not (resamples >= 100 and 0.5 <= confidence < 1):
        raise InputError(
            f"resamples={resamples} confidence={confidence} is not allowed: give at least 100 resamples, and "
            "a confidence from 0.5 to below 1, such as 0.95."
        )
    if metric == MEAN:  # of scores in samples alone
        raise unknown("metric", metric, METRICS)
    reading = Reading(columns or {}, metric, labels is not None, selection, filter)
    files = {name: _read_each(source, reading) for name, source in systems.items()}
    gold = read_gold(labels, reading) if labels is not None else None
    metric = _common_metric([file for several in files.values() for file in several])
    rows = match_rows(files, gold)
    truth, outputs = encode(metric, rows, positive)
    predictions = {
        name: Predictions(
            metric=metric,
            labels=truth,
            outputs=one,
            seeds=tuple(range(len(one))),
            lower_is_better=metric in ERRORS,
            groups=rows.groups,
            resamples=resamples,
        )
        for name, one in outputs.items()
    }
    table = _scores(predictions, confidence).merge(
        _differences(predictions, baseline, confidence), on="system", how="left"
    )
    lines = [_signature(files[name], gold, metric, predictions[name], confidence) for name in predictions]
    # Scores that a file of samples holds have the name of the file.
    names = [parse_signature(line)["metric"] for line in lines]
    return table.assign(metric=names, signature=lines)[COLUMNS]


def _checked_baseline(names: Sequence[str], baseline: str | None) -> str:
    if not names:
        raise InputError("There is nothing to compare: give the predictions of one or more systems.")
    if baseline is not None and baseline not in names:
        raise unknown("baseline", baseline, names)
    return baseline or names[0]


def _read_each(source: Source | Sequence[Source], reading: Reading) -> list[PredictionFile]:
    sources = (
        [source] if isinstance(source, str | pd.DataFrame) or not isinstance(source, Sequence) else source
    )
    return [file for one in sources for file in read_system(one, reading)]


def _common_metric(files: Sequence[PredictionFile]) -> str:
    metrics = {file.metric: file.name for file in files if file.metric is not None}
    if len(metrics) > 1:
        found = ", ".join(f"{metric} ({name})" for metric, name in metrics.items())
        raise InputError(f"The files have different metrics: {found}. Give metric=NAME.")
    return next(iter(metrics), None) or "accuracy"


def _scores(predictions: Mapping[str, Predictions], confidence: float) -> pd.DataFrame:
    rows = []
    for name, one in predictions.items():
        score = score_estimate(one)
        low, high = score.interval(confidence)
        rows.append((name, score.value, low, high, len(one.seeds), one.collapsed))
    return pd.DataFrame(rows, columns=["system", "score", "low", "high", "seeds", "collapsed"])


def _differences(predictions: Mapping[str, Predictions], baseline: str, confidence: float) -> pd.DataFrame:
    names = {"method": "system", "low": "difference_low", "high": "difference_high"}
    return (
        compare_all(predictions, baseline, confidence)
        .rename(columns=names)
        .drop(columns=["seeds", "collapsed"])
    )


def _signature(
    files: Sequence[PredictionFile],
    gold: PredictionFile | None,
    metric: str,
    predictions: Predictions,
    confidence: float,
) -> str:
    """Return the signature of one system: what its files state, and the hash of each."""
    # Of a run all files state the same, except for the seed.
    stated = dict(files[0].fields) if all(file.fields == files[0].fields for file in files) else {}
    seeds = [str(file.seed) for file in files if file.seed is not None]
    return signature(
        {"metric": metric}
        | stated
        | {
            "seeds": ",".join(seeds) if len(seeds) == len(files) else None,
            "files": len(files),
            "sha256": ",".join(file.sha256 for file in files),
            "labels": gold.sha256 if gold else None,
            "version": __version__,
        }
        | bootstrap_fields(predictions, confidence)
    )
