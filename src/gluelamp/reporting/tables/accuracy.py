"""The table of all GLUE scores: every setting, metric and selection of the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.labels import (
    HEADS,
    SELECTIONS,
    collapse_notes,
    collapsed_mark,
    data_notes,
    task_name,
    task_names,
)
from gluelamp.reporting.published_scores import Key as PublishedKey
from gluelamp.reporting.rendering import (
    EMPTY,
    ERROR,
    Cell,
    Format,
    Number,
    Page,
    Range,
    Table,
    Text,
    escape,
    numbers,
    texts,
)
from gluelamp.reporting.scores import is_benchmark
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.statistics import TIES_NOTE, Predictions, comparable, possibly_best, rank_intervals
from gluelamp.reporting.summary import GLUE_TASKS, SCOPE, BenchmarkTasks, by_benchmark, task_averages
from gluelamp.reporting.training_data import training_data_notes
from gluelamp.tasks.task import ERRORS

ACCURACY_COLUMNS = [
    *(*SCOPE, "method", "task", "seen_datasets", "metric"),
    *("mean", "median", "std", "low", "high"),
    *("seeds", "collapsed", "epochs", "selection", "published", "signature"),
]
PUBLISHED_NOTE = (
    "Published for the same method, backbone, task and metric, on the whole development set; "
    "`results/published` has the protocol and source of each number."
)
_READING = (
    "Scores are times 100, in each task's main metric: mean ± sample standard deviation (number of seeds); a "
    "single number is one seed.",
    "**cross-fitted (2-fold) epoch selection**: each half of the validation rows is scored at the epoch that "
    "is best on the other half. **best epoch**: selected and scored on the same rows, which is optimistic. "
    "**last epoch**: no selection.",
    "**average**: over the same tasks and seeds for every method; empty for a method with other tasks or "
    "seeds. **95 %**: interval of the mean over examples and seeds; with one seed, over examples alone. "
    "**rank**: of the mean, with its 95 % interval, from comparisons of the method with all others.",
    TIES_NOTE,
)
_NOT_COMPARABLE = "No bold type and no ranks, because some runs have no predictions or other rows: {}."
_PERCENT = Format(decimals=2, scale=100)


def accuracy_rows(summary: pd.DataFrame, published: Mapping[PublishedKey, float]) -> pd.DataFrame:
    """Add the published scores to a summary, where the data allow it.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`.
        published: as fractions, of `gluelamp.reporting.published_scores.read_published`.
    """
    keys = zip(*(summary[column] for column in ("method", "backbone", "task", "metric")), strict=True)
    values = pd.Series([published.get(key) for key in keys], index=summary.index, dtype=float)
    return summary.assign(published=values.where(summary["data"].map(is_benchmark).astype(bool)))


def accuracy_page(rows: pd.DataFrame, failed: Sequence[RunRecord]) -> Page:
    """Return the page of `accuracy_rows`: tables per data, backbone, head and benchmark, and failed runs."""
    tables: list[Table] = []
    main = rows[rows["is_main"].astype(bool)]
    for (data, backbone, head), scope in main.groupby(SCOPE, sort=False):
        for benchmark, part in by_benchmark(scope):
            notes = data_notes(data, benchmark.title, _deviations(part))
            # GLUE, with mixtures of any tasks, is the table without a further title.
            title = f"{data} data, {backbone}, {HEADS[head]}"
            title += "" if benchmark is GLUE_TASKS else f", {benchmark.title}"
            tables += _scope_tables(title, part, notes, benchmark)
    if failed:
        tables.append(failed_runs(failed))
    data = rows.drop(columns="method").rename(columns={"variant": "method"})[ACCURACY_COLUMNS]
    return Page("glue_accuracy", "GLUE accuracy", _READING if len(rows) else (), data, tables)


def _deviations(rows: pd.DataFrame) -> list[str]:
    """Return the differences from the official rows, each with its task."""
    tasks = rows.drop_duplicates("task")
    return [
        f"{task_name(task)}: {escape(sentence)}"
        for task, sentences in zip(tasks["task"], tasks["deviations"], strict=True)
        for sentence in sentences
    ]


def _scope_tables(
    title: str, rows: pd.DataFrame, notes: Sequence[str], benchmark: BenchmarkTasks
) -> Iterator[Table]:
    selections = _by_selection(rows)
    for selection, part in selections.items():
        yield _wide_table(f"{title}, {SELECTIONS[selection]}", part, notes, benchmark)
    if rows["published"].notna().any():
        yield _published_table(f"{title}, published", rows)
    for _, task in rows.groupby("task", sort=False):
        yield _task_table(f"{title}, {_task_title(task)}", task, notes)


def _by_selection(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each selection that has some, the strictest first."""
    parts = {selection: rows[rows["selection"] == selection] for selection in SELECTIONS}
    return {selection: part for selection, part in parts.items() if len(part)}


def _wide_table(title: str, rows: pd.DataFrame, notes: Sequence[str], benchmark: BenchmarkTasks) -> Table:
    """Return the table of one selection: one line per method, one column per task, and their average."""
    # Columns are dictionaries by method, since not every method ran on every task.
    columns: dict[str, Mapping[str, Cell]] = {}
    not_comparable: list[str] = []
    for task, on_task in rows.groupby("task", sort=False):
        methods = _comparable(on_task)
        columns[_task_title(on_task)] = _means(on_task, bold=possibly_best(methods) if methods else set())
        not_comparable += [] if methods else [task]
    # The interval of the average is in `glue_main`, which has one setting per method.
    averages = task_averages(rows, "variant", benchmark)
    if len(averages):
        tasks = averages["tasks"].iloc[0]
        is_complete = set(tasks.split()) == set(benchmark.averaged)
        average = f"{benchmark.title} average" if is_complete else f"average of {task_names(tasks)}"
        columns[average] = {
            row["variant"]: Number(row["mean"], _PERCENT, marks=collapsed_mark(row["collapsed"]))
            for row in averages.to_dict("records")
        }
    bare = [_NOT_COMPARABLE.format(task_names(" ".join(not_comparable)))] if not_comparable else []
    notes = [*notes, *training_data_notes(rows), *bare, *collapse_notes(rows, "variant")]
    return _method_table(title, columns, sorted(rows["variant"].unique()), notes, common_signature(rows))


def _task_table(title: str, rows: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Return everything on one task: rank and interval by the strictest selection, and all means."""
    parts = _by_selection(rows)
    strictest, *others = parts
    # Ranks and intervals are of the strictest selection alone; the other selections are for comparison.
    is_error = rows["metric"].iloc[0] in ERRORS
    first = parts[strictest].sort_values("mean", ascending=is_error, kind="stable")
    methods = _comparable(first)
    ranks = rank_intervals(methods).to_dict("records") if methods else []
    intervals = zip(first["variant"], first["low"], first["high"], strict=True)
    columns: dict[str, Mapping[str, Cell]] = {
        "rank": {
            row["method"]: Number(row["rank"], low=row["rank_low"], high=row["rank_high"]) for row in ranks
        },
        SELECTIONS[strictest]: _means(first),
        "95 %": {
            name: Range(low, high, ERROR if is_error else _PERCENT, is_interval=True)
            for name, low, high in intervals
        },
    }
    if (first["seeds"] > 1).any():
        medians = zip(first["variant"], first["median"], strict=True)
        columns["median"] = {
            name: Number(median, ERROR if is_error else _PERCENT, missing="n/a") for name, median in medians
        }
    columns |= {SELECTIONS[other]: _means(parts[other]) for other in others}
    names = dict.fromkeys(name for part in (first, *parts.values()) for name in part["variant"])
    notes = [*notes, *training_data_notes(rows), *collapse_notes(rows, "variant")]
    return _method_table(title, columns, names, notes, common_signature(rows))


def _published_table(title: str, rows: pd.DataFrame) -> Table:
    # The published score is the same for all variants and selections of a method.
    known = rows.dropna(subset="published").drop_duplicates(["method", "task"])
    columns = {
        _task_title(on_task): {
            name: Number(value, _PERCENT)
            for name, value in zip(on_task["method"], on_task["published"], strict=True)
        }
        for _, on_task in known.groupby("task", sort=False)
    }
    return _method_table(title, columns, sorted(known["method"].unique()), [PUBLISHED_NOTE])


def _method_table(
    title: str,
    columns: Mapping[str, Mapping[str, Cell]],
    methods: Iterable[str],
    notes: Sequence[str],
    signature: str = "",
) -> Table:
    """Return a table with one line per method; a missing cell is empty."""
    lines = [[Text(name), *(column.get(name, EMPTY) for column in columns.values())] for name in methods]
    return Table(title, [*texts("method"), *numbers(*columns)], lines, notes, signature)


def _means(rows: pd.DataFrame, bold: Iterable[str] = ()) -> dict[str, Cell]:
    form = ERROR if rows["metric"].iloc[0] in ERRORS else _PERCENT
    return {
        name: Number(
            mean,
            form,
            std=std if seeds > 1 and pd.notna(mean) else float("nan"),
            seeds=seeds if seeds > 1 else None,
            marks=collapsed_mark(collapsed),
            bold=name in bold,
            missing="n/a",
        )
        for name, mean, std, seeds, collapsed in zip(
            *(rows[column] for column in ("variant", "mean", "std", "seeds", "collapsed")), strict=True
        )
    }


def _comparable(rows: pd.DataFrame) -> dict[str, Predictions]:
    """Return the predictions of all methods with a score on one task; nothing if they are not comparable."""
    # A method with a diverged seed has no score; it does not prevent the comparison of the others.
    scored = rows[rows["mean"].notna()]
    return comparable(dict(zip(scored["variant"], scored["predictions"], strict=True)))


def _task_title(rows: pd.DataFrame) -> str:
    return f"{rows['task'].iloc[0]} ({rows['metric'].iloc[0].replace('_', ' ')})"


def failed_runs(failed: Sequence[RunRecord]) -> Table:
    """Return the table of the failed runs, with their messages."""
    configs = [record.config for record in failed]
    lines = [
        [
            *(config.backbone.name, config.method.name, config.task.name, str(config.seed)),
            record.error or "no message",
        ]
        for config, record in zip(configs, failed, strict=True)
    ]
    columns = texts("backbone", "method", "task", "seed", "error")
    return Table("Failed runs", columns, [[Text(text) for text in line] for line in sorted(lines)])
