"""Scores of tasks with two classes that do not depend on the decision threshold of the head."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from gluelamp.reporting.labels import data_notes, scope_title, task_name
from gluelamp.reporting.rendering import POINTS, Cell, Number, Page, Table, Text, numbers, texts
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.statistics import MATTHEWS_CROSS_FITTED, ROC_AUC, read_predictions
from gluelamp.reporting.summary import BENCHMARKS, SCOPE, SCORE_COLUMNS, SETTING_NOTE, common_settings
from gluelamp.reporting.training_data import training_data_notes
from gluelamp.tasks.task import Task

SECTION = [*SCOPE, "epochs"]
_SELECTION = "last"
_ADDED = ("matthews_correlation", MATTHEWS_CROSS_FITTED, ROC_AUC)
_TITLES = {
    "f1": "F1",
    "matthews_correlation": "Matthews",
    MATTHEWS_CROSS_FITTED: "Matthews, cross-fitted threshold",
    ROC_AUC: "ROC AUC",
}
_READING = (
    "A head of two classes predicts class 1 where its output is the larger one. Which rows these are depends "
    "on a threshold that few training steps fit badly: a run may order the rows well and still predict one "
    "class for all of them. Its Matthews correlation is then 0, and its accuracy that of the majority "
    "baseline. *Collapsed* is the number of runs that predict one class on at least 99 % of the rows.",
    "**ROC AUC** needs no threshold: it is the probability that a row of class 1 has a larger margin than a "
    "row of class 0; 50 is chance. **Matthews, cross-fitted threshold**: the rows are split into the halves "
    "of the cross-fitted epoch selection, and each half has the threshold that is best on the other half. The"
    " other columns have the threshold of the head.",
    "Scores are times 100, after the last epoch: the best epoch would be selected at the threshold of the "
    "head. Intervals are 95 % intervals over examples and seeds; with one seed, over examples alone. The "
    "thresholds are fixed in the bootstrap. The methods with the highest ROC AUC are first.",
    SETTING_NOTE,
)


def with_threshold_free_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the scores of all runs on tasks with two classes, computed from their predictions.

    Args:
        scores: of `gluelamp.reporting.scores.score_table`, without tasks with users.

    Returns:
        these rows and, for each run with predictions and a score after the last epoch, rows with the metrics
        `ROC_AUC`, `MATTHEWS_CROSS_FITTED` and, if it is no metric of the task, ``matthews_correlation``. They
        are no main metric.
    """
    is_last = scores["is_main"] & (scores["selection"] == _SELECTION) & scores["value"].notna()
    # A mixture has a name of its own, and the outputs of several tasks.
    is_last &= ~scores["is_mixture"].astype(bool)
    added = [row for _, row in scores[is_last].iterrows() if _has_threshold(row["declaration"])]
    rows = [row for run in added for row in _scores_of_run(run)]
    return (
        pd.concat([scores, pd.DataFrame(rows).astype(scores.dtypes)], ignore_index=True) if rows else scores
    )


def _has_threshold(task: Task) -> bool:
    return len(task.labels) == 2 and not task.one_true_per_group


def _scores_of_run(run: pd.Series) -> Iterator[pd.Series]:
    for metric in _ADDED:
        if metric not in run["declaration"].metrics:
            row = pd.Series({**run, "metric": metric, "is_main": False})
            predictions = read_predictions(row.to_frame().T)
            if predictions is not None:
                yield pd.Series({**row, "value": float(predictions.scores[0])})


def in_metric(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a summary with another main metric for the scores after the last epoch that have it.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`, over `with_threshold_free_scores`.
        metric: such as `ROC_AUC`; other tasks, such as regression tasks, keep their main metric.
    """
    last = summary["selection"] == _SELECTION
    keys = summary[[*SCOPE, "variant", "task"]].apply(tuple, axis=1)
    has_metric = last & keys.isin(keys[last & (summary["metric"] == metric)])
    is_main = summary["is_main"].astype(bool)
    return summary.assign(is_main=is_main.where(~has_metric, summary["metric"] == metric))


def threshold_free_rows(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one row per data, backbone, head, method, task with two classes, and metric.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`, over `with_threshold_free_scores`.

    Returns:
        the columns `SCORE_COLUMNS`; no row if no run on such a task has predictions. ``collapsed`` is that of
        the predicted classes for every metric.
    """
    labelled = summary.assign(label=summary["method"])
    settings = pd.concat([common_settings(labelled, _SELECTION, benchmark) for benchmark in BENCHMARKS])
    keys = [*SCOPE, "variant", "task"]
    chosen = settings[[*keys, "label", "collapsed"]]
    rows = summary[summary["selection"] == _SELECTION].drop(columns="collapsed").merge(chosen, on=keys)
    tasks = rows.loc[rows["metric"] == ROC_AUC, "task"].unique()
    return rows.loc[rows["task"].isin(tasks), SCORE_COLUMNS]


def threshold_free_page(rows: pd.DataFrame) -> Page:
    """Return the page of `threshold_free_rows`: one table per data, backbone, head and task."""
    tables = [_table(on_task) for _, on_task in rows.groupby([*SECTION, "task"], sort=False)]
    return Page("threshold_free", "Scores that need no threshold", _READING, rows, tables)


def _table(rows: pd.DataFrame) -> Table:
    # In the order of the task's metrics, then of those that need no threshold
    metrics = [metric for metric in dict.fromkeys([*rows["metric"], *_ADDED]) if metric not in _ADDED]
    metrics += [metric for metric in _ADDED if metric in set(rows["metric"])]
    cells = {
        (row["label"], row["metric"]): Number(row["mean"], POINTS, row["low"], row["high"])
        for row in rows.to_dict("records")
    }
    first = rows[rows["metric"] == ROC_AUC].sort_values("mean", ascending=False, kind="stable")
    lines: list[list[Cell]] = [
        [
            Text(row["label"]),
            *(cells.get((row["label"], metric), Text("")) for metric in metrics),
            Text(f"{row['collapsed']} of {row['seeds']}"),
        ]
        for row in first.to_dict("records")
    ]
    titles = [_TITLES.get(metric, metric.replace("_", " ")) for metric in metrics]
    benchmark = next(one.title for one in BENCHMARKS if first["task"].iloc[0] in one.tasks)
    notes = data_notes(first["data"].iloc[0], benchmark)
    title = f"{scope_title(first)}, {task_name(first['task'].iloc[0])}"
    notes += training_data_notes(first)
    columns = [*texts("method"), *numbers(*titles, "collapsed")]
    return Table(title, columns, lines, notes, common_signature(rows))
