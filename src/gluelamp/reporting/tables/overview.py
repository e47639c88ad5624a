"""The table of a sweep or a results folder in the terminal: a line per method, with its scores and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from gluelamp.reporting.labels import (
    COLLAPSED_MARK,
    HEADS,
    SAMPLE_NOTE,
    SELECTIONS,
    collapsed_mark,
    data_notes,
    plural,
    task_name,
)
from gluelamp.reporting.rendering import (
    EMPTY,
    POINTS,
    Cell,
    Format,
    Number,
    Table,
    Text,
    numbers,
    score_format,
    texts,
)
from gluelamp.reporting.scores import SAMPLE, TRAINING_ROWS
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.summary import SCOPE, BenchmarkTasks, by_benchmark, summarise, task_averages
from gluelamp.reporting.tables.lamp import SECTION, lamp_rows
from gluelamp.reporting.tables.lamp_scores import PROFILE_NAMES
from gluelamp.reporting.training_data import training_data_notes

_BYTES = "stored bytes"
_COLLAPSED = f"{COLLAPSED_MARK} includes runs that predict one class."


def overview_tables(scores: pd.DataFrame, summary: pd.DataFrame | None = None) -> Iterator[Table]:
    """Yield one table per source of data, backbone, head and benchmark.

    Scores are of the strictest selection of the epoch that all runs of a table have. Trials of a search are
    left out: they are compared with those of the same method, in a table of their own.

    Args:
        scores: of `gluelamp.reporting.scores.score_table`.
        summary: of `gluelamp.reporting.summary.summarise` and these scores, if it is computed already.
    """
    scores = scores[scores["is_main"] & ~scores["data"].str.endswith(TRAINING_ROWS)]
    shared, with_users = scores[~scores["has_users"]], scores[scores["has_users"]]
    if len(shared):
        selected = pd.concat([_strictest(scope) for _, scope in shared.groupby(SCOPE, sort=False)])
        if summary is None:
            summary = summarise(selected)
        summary = summary[summary["is_main"].astype(bool)]
        summary = summary.merge(selected[[*SCOPE, "selection"]].drop_duplicates())
        for _, scope in summary.groupby(SCOPE, sort=False):
            for benchmark, rows in by_benchmark(scope):
                yield _table(rows, benchmark)
    if len(with_users):
        for _, rows in lamp_rows(with_users).groupby(SECTION, sort=False):
            yield _users_table(rows)


def _strictest(scores: pd.DataFrame) -> pd.DataFrame:
    held_out = scores[scores["selection"] == "held_out"]
    is_complete = held_out["folder"].nunique() == scores["folder"].nunique()
    return held_out if is_complete else scores[scores["selection"] == "best"]


def _table(rows: pd.DataFrame, benchmark: BenchmarkTasks) -> Table:
    first, tasks = rows.iloc[0], list(rows["task"].unique())
    averages = task_averages(rows, "variant", benchmark).set_index("variant").to_dict("index")
    # The method that stores most comes first, as in the main table.
    rows = rows.sort_values(["method_bytes", "variant"], ascending=[False, True], kind="stable")
    lines: list[list[Cell]] = []
    for name, on_method in rows.groupby("variant", sort=False):
        by_task = {row["task"]: row for row in on_method.to_dict("records")}
        cells = [_score(by_task[task]) if task in by_task else EMPTY for task in tasks]
        average = [_score(averages[name]) if name in averages else EMPTY] if averages else []
        lines.append([Text(name), *cells, *average, Number(on_method["method_bytes"].iloc[0])])
    fewest, most = rows["seeds"].min(), rows["seeds"].max()
    seeds = plural(most, "seed") if fewest == most else f"{fewest} to {most} seeds"
    # A mixture, or a task of a user's own, belongs to no benchmark.
    name = f"{benchmark.title}, " if rows["task"].isin(benchmark.tasks).any() else ""
    model = f"{first['backbone']}, {HEADS[first['head']]}"
    title = f"{name}{first['data']} data, {model}, {SELECTIONS[first['selection']]}, {seeds}"
    columns = numbers(*map(task_name, tasks), *(["average"] if averages else []), _BYTES)
    notes = [*data_notes(first["data"], benchmark.title), *training_data_notes(rows)]
    notes += [_COLLAPSED] if rows["collapsed"].fillna(0).any() else []
    return Table(title, [*texts("method"), *columns], lines, notes, common_signature(rows))


def _score(row: dict[Any, Any]) -> Number:
    marks = collapsed_mark(row["collapsed"])
    return Number(
        row["mean"], score_format(row.get("metric", "")), row["low"], row["high"], marks=marks, missing="n/a"
    )


def _users_table(rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    metric = first["user_metric"]
    shown = POINTS if metric == "accuracy" else Format(decimals=3)
    lines: list[list[Cell]] = [
        [
            Text(row["method"]),
            Text(PROFILE_NAMES[row["profiles"]]),
            Number(row["users"]),
            Number(row["user_mean"], shown, row["user_low"], row["user_high"]),
            Number(row["method_bytes"]),
        ]
        for row in rows.to_dict("records")
    ]
    title = f"LaMP, {first['data']} data, {first['task']}, {first['backbone']}, last epoch"
    columns = [*texts("method", "profiles"), *numbers("users", f"mean of users ({metric})", _BYTES)]
    notes = [SAMPLE_NOTE.format("LaMP")] if first["data"].startswith(SAMPLE) else []
    return Table(title, columns, lines, notes)
