"""Differences of methods to a reference on the same rows: per task, and for the mean over tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gluelamp.reporting.labels import collapsed_mark, task_name, task_names
from gluelamp.reporting.rendering import DIFFERENCE, EMPTY, POINTS, Cell, Number, Table, Text, numbers, texts
from gluelamp.reporting.statistics import Predictions, compare_all, difference, holm, mean_estimate, verdict
from gluelamp.reporting.summary import SCOPE, SCORE_COLUMNS, task_order
from gluelamp.tasks.glue import GLUE

OVERALL = "all tasks"
ONE_SEED = "one seed"
"""Replaces the verdict if a method has one seed: its error is over examples alone, so methods that are
equal on average over seeds would be called better or worse far too often."""
DIFFERENCE_COLUMNS = ["difference", "low", "high", "p", "p_holm", "verdict", "tasks", "seeds", "collapsed"]


def compared_rows(rows: pd.DataFrame, references: Sequence[str]) -> pd.DataFrame:
    """Add the differences to references to the scores of one data and backbone.

    Args:
        rows: of `gluelamp.reporting.summary.common_settings`.
        references: labels; the columns of one without scores are empty.

    Returns:
        the columns `gluelamp.reporting.summary.SCORE_COLUMNS`, and for each reference ``vs_<label>``
        (the difference) and ``vs_<label>_<column>`` for the other `DIFFERENCE_COLUMNS`. The mean over
        tasks has its own row, with task `OVERALL`.
    """
    table = rows[SCORE_COLUMNS]
    for reference in references:
        names = {column: f"vs_{reference}_{column}" for column in DIFFERENCE_COLUMNS} | {
            "difference": f"vs_{reference}"
        }
        differences = paired_rows(rows, reference).rename(columns=names)
        table = table.merge(differences, on=["label", "task"], how="outer")
    # The rows of the mean come from the merge and have neither scope nor method
    first = rows.iloc[0]
    table = table.assign(**{name: first[name] for name in (*SCOPE, "selection", "epochs")})
    table["method"] = table["label"].map(dict(zip(rows["label"], rows["method"], strict=True)))
    table = table.assign(place=task_order(table["task"])).sort_values(["label", "place"], ignore_index=True)
    both = [f"vs_{reference}_{column}" for reference in references for column in ("seeds", "collapsed")]
    counts = ["epochs", "seeds", "collapsed", *both]
    return table.drop(columns="place").astype(dict.fromkeys(counts, "Int64"))


def paired_rows(rows: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare each label with a reference, on each task and on the mean over the tasks that both have.

    Holm's correction is over the comparisons of one task, and over the comparisons of the means.

    Args:
        rows: of `gluelamp.reporting.summary.common_settings`, of one data, backbone and head; those without
            predictions are skipped.
        reference: the label that is subtracted.

    Returns:
        ``label``, ``task`` (`OVERALL` for the mean) and the columns `DIFFERENCE_COLUMNS`: label - reference
        as fractions, with 95 % intervals; ``verdict`` is ``better``, ``worse`` or ``tie``; the names of the
        ``tasks``; the smallest number of ``seeds`` of a method and task; and the number of ``collapsed`` runs
        of both.
    """
    # By task, because Holm's correction is over the methods of one task.
    by_task: dict[str, dict[str, Predictions]] = defaultdict(dict)
    for label, task, predictions in zip(rows["label"], rows["task"], rows["predictions"], strict=True):
        if predictions is not None:
            by_task[task][label] = predictions
    compared = {task: methods for task, methods in by_task.items() if reference in methods}
    tables = [
        compare_all(methods, reference).rename(columns={"method": "label"}).assign(task=task, tasks=task)
        for task, methods in compared.items()
    ]
    columns = ["label", "task", *DIFFERENCE_COLUMNS]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat([*tables, _means_over_tasks(compared, reference)], ignore_index=True)[columns]


def outcome(row: Mapping[str, Any] | pd.Series, reference: str) -> str:
    """Return ``better``, ``worse`` or ``tie``, or `ONE_SEED` if one of the two has one seed.

    Args:
        row: of `compared_rows`, with this comparison.
        reference: the label of the reference.
    """
    return ONE_SEED if row[f"vs_{reference}_seeds"] < 2 else str(row[f"vs_{reference}_verdict"])


def score_cells(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, list[Cell]]:
    """Return the scores of labels as one column per task, by its title.

    Args:
        rows: of `compared_rows`.
        labels: the lines of the table. If numbers of seeds differ, each score has its own.
    """
    by_place, differ = _by_place(rows), rows["seeds"].nunique() > 1
    return {
        task_name(task): [_score(by_place.get((label, task)), differ) for label in labels]
        for task in _tasks(rows)
    }


def difference_tables(rows: pd.DataFrame, labels: Sequence[str], reference: str, title: str) -> list[Table]:
    """Return the table of differences to a reference per task and of their mean; none if there are none.

    Args:
        rows: of `compared_rows`, with this reference.
        labels: the lines of the table.
        reference: the label that is subtracted.
        title: of the table of scores.
    """
    paired = rows[rows[f"vs_{reference}"].notna()]
    by_place, tasks = _by_place(paired), _tasks(paired)
    columns = [task_name(task) for task in tasks]
    columns += [f"mean of {len(tasks)} tasks"] if len(tasks) > 1 else []
    lines: list[list[Cell]] = []
    for label in [label for label in labels if label in set(paired["label"])]:
        cells = [_difference(by_place.get((label, task)), reference) for task in tasks]
        mean = [_difference(by_place[label, OVERALL], reference, len(tasks))] if len(tasks) > 1 else []
        lines.append([Text(label), *cells, *mean])
    header = [*texts("method"), *numbers(*columns)]
    return [Table(f"{title}: difference to {reference}", header, lines)] if lines else []


def _by_place(rows: pd.DataFrame) -> dict[tuple[str, str], dict[Any, Any]]:
    return {(row["label"], row["task"]): row for row in rows.to_dict("records")}


def _tasks(rows: pd.DataFrame) -> list[str]:
    return [task for task in GLUE if task in set(rows["task"])]


def _score(row: Mapping[Any, Any] | None, with_seeds: bool) -> Cell:
    if row is None:
        return EMPTY
    return Number(
        row["mean"],
        POINTS,
        row["low"],
        row["high"],
        seeds=int(row["seeds"]) if with_seeds else None,
        marks=collapsed_mark(row["collapsed"]),
    )


def _difference(row: Mapping[Any, Any] | None, reference: str, num_tasks: int = 1) -> Cell:
    """Return a difference; a mean over fewer tasks than those of the table names them."""
    if row is None:
        return EMPTY
    name = f"vs_{reference}"
    tasks = row[f"{name}_tasks"]
    comment = "" if len(tasks.split()) == num_tasks else f"{task_names(tasks)} alone"
    bounds = (row[f"{name}_low"], row[f"{name}_high"])
    marks = collapsed_mark(row[f"{name}_collapsed"])
    verdict = outcome(row, reference)
    return Number(row[name], DIFFERENCE, *bounds, verdict=verdict, comment=comment, marks=marks)


def _means_over_tasks(by_task: Mapping[str, Mapping[str, Predictions]], reference: str) -> pd.DataFrame:
    labels = sorted({label for methods in by_task.values() for label in methods} - {reference})
    rows = [_mean_over_tasks(label, by_task, reference) for label in labels]
    frame = pd.DataFrame(rows, columns=["label", "task", *DIFFERENCE_COLUMNS])
    frame["p_holm"] = holm(frame["p"])
    # More is better in the main metrics of all GLUE tasks
    frame["verdict"] = list(map(verdict, frame["difference"], frame["p_holm"]))
    return frame


def _mean_over_tasks(
    label: str, by_task: Mapping[str, Mapping[str, Predictions]], reference: str
) -> dict[str, Any]:
    # Both methods of a pair have the same tasks, even if the reference has more.
    pairs = {
        task: (methods[label], methods[reference]) for task, methods in by_task.items() if label in methods
    }
    mean = mean_estimate([difference(*pair) for pair in pairs.values()])
    return {
        "label": label,
        "task": OVERALL,
        "tasks": " ".join(pairs),
        "seeds": min(len(side.seeds) for pair in pairs.values() for side in pair),
        "collapsed": sum(side.collapsed for pair in pairs.values() for side in pair),
        "difference": mean.value,
        "low": mean.low,
        "high": mean.high,
        "p": mean.p,
    }
