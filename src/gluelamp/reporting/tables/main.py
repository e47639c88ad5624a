"""The main table of the PaFi and HiWi paper: sizes and GLUE scores of each method, next to published ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gluelamp.records import Measurement
from gluelamp.reporting.labels import (
    collapse_notes,
    collapsed_mark,
    data_notes,
    scope_title,
    task_name,
    task_names,
)
from gluelamp.reporting.published_counts import PublishedCount
from gluelamp.reporting.published_scores import BEST_EPOCH_MARK, HEAD_MARKS, legend
from gluelamp.reporting.rendering import (
    DIFFERENCE,
    EMPTY,
    PERCENTAGE,
    POINTS,
    Cell,
    Number,
    Page,
    Range,
    Table,
    Text,
    numbers,
    texts,
)
from gluelamp.reporting.scores import FP32_BYTES, SAMPLE, is_benchmark
from gluelamp.reporting.signature import common_signature
from gluelamp.reporting.summary import (
    AVERAGE_TASKS,
    GLUE_TASKS,
    SCOPE,
    SCORE_COLUMNS,
    SETTING_NOTE,
    BenchmarkTasks,
    common_settings,
    task_averages,
    task_order,
)
from gluelamp.reporting.training_data import training_data_notes

PAPER_BACKBONE = "roberta_large"
PAPER_METHODS = ("pafi", "hiwi", "hiwi_weight")
AVERAGE = "average"

SECTION = [*SCOPE, "epochs", "selection"]
_PERCENTAGES = ["trained_pct", "stored_pct"]
COLUMNS = [
    *SECTION,
    *("method", "task", "tasks", "seen_datasets", "metric", "seeds", "collapsed"),
    *("mean", "std", "low", "high"),
    *("trained_pct_low", "trained_pct_high", "stored_pct_low", "stored_pct_high"),
    *("published_trained", "published_stored"),
    *("published", "published_metric", "marks", "paper", "protocol"),
    *("gap", "gap_low", "gap_high"),
    "signature",
]
_READING = (
    "Scores are times 100, in the main metric of each task (Matthews correlation on CoLA, Pearson correlation"
    " on STS-B, accuracy on the others, on the matched set of MNLI), with the 95 % interval over examples and"
    " seeds; with one seed, over examples alone. *Trained* and *stored* are percentages of the backbone's "
    "values and of its bytes in fp32, without the task head. For a method without runs, they are the minimum "
    "and the maximum of all counted settings. Averages over tasks are over the same tasks and seeds for every"
    " method. The gap is ours - published, where both are on all rows; its interval is that of our score, "
    "since papers print none.",
    "Small letters mark differences of a published number; the CSV has its paper and protocol. The tables of "
    "the papers on PaFi and HiWi and on X-PEFT are not available to this project: "
    "`results/published/README.md` explains how to add them.",
    SETTING_NOTE,
)
_SUPERGLUE_READING = (
    "Scores are times 100: accuracy, on MultiRC F1 over all answers (F1a), on AX-b Matthews correlation; and "
    "their 95 % intervals over examples and seeds. The average is without the two diagnostic sets. That of "
    "the benchmark also has ReCoRD, which is left out, and counts CB and MultiRC by the mean of two metrics. "
    "The second metric of a task is in `glue_accuracy`."
)


def main_rows(
    summary: pd.DataFrame,
    measured: Sequence[Measurement],
    published: pd.DataFrame,
    counts: Sequence[PublishedCount],
    benchmark: BenchmarkTasks = GLUE_TASKS,
) -> pd.DataFrame:
    """Return one row per data, backbone, head, method and task, and one per average.

    On GLUE the paper's backbone is included without runs, too: with counted sizes and published scores.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`.
        measured: measurements of kind ``parameters``.
        published: of `gluelamp.reporting.published_scores.closest_scores`.
        counts: published sizes.
        benchmark: whose tasks are in the table.

    Returns:
        the columns `COLUMNS`, scores as fractions; sizes in percent of the backbone, the minimum and
        the maximum over a method's runs or, if it has none, over its counted settings; ``gap`` is ours -
        published where the protocols allow it, with the interval of ours alone.
    """
    ours = common_settings(summary.assign(label=summary["method"]), benchmark=benchmark)[SCORE_COLUMNS]
    methods = {one.method for one in measured} | {*ours["method"], *PAPER_METHODS}
    published = published[published["method"].isin(methods) & published["task"].isin(benchmark.averaged)]
    scopes = [scope for _, scope in ours.groupby(SCOPE, sort=False)]
    if benchmark is GLUE_TASKS and PAPER_BACKBONE not in set(ours["backbone"]):
        scopes.append(_paper_scope(published))
    tables = [_scope_rows(scope, published, measured, counts, benchmark) for scope in scopes]
    return pd.concat(tables, ignore_index=True)


def _paper_scope(published: pd.DataFrame) -> pd.DataFrame:
    """Return the empty scores of the paper's backbone, if no run has it."""
    methods = {*PAPER_METHODS, *published.loc[published["backbone"] == PAPER_BACKBONE, "method"]}
    places = pd.MultiIndex.from_product([sorted(methods), AVERAGE_TASKS], names=["method", "task"])
    scores = dict.fromkeys(["mean", "std", "low", "high", "error", "freedom", *_PERCENTAGES], np.nan)
    scope = {"data": "", "backbone": PAPER_BACKBONE, "head": "", "epochs": 0, "selection": ""}
    return places.to_frame(index=False).assign(
        metric="", seen_datasets="", seeds=0, seed_set="", collapsed=0, signature="", **scope, **scores
    )


def _scope_rows(
    ours: pd.DataFrame,
    published: pd.DataFrame,
    measured: Sequence[Measurement],
    counts: Sequence[PublishedCount],
    benchmark: BenchmarkTasks,
) -> pd.DataFrame:
    scope = ours[SECTION].iloc[0].to_dict()
    data, backbone = scope["data"], scope["backbone"]
    # Published scores are on the real rows: next to a score on the synthetic sample they would mislead.
    published = published[(published["backbone"] == backbone) & (not data.startswith(SAMPLE))]
    rows = _with_published(ours.drop(columns=SECTION), published.drop(columns="backbone"), scope)
    averages = task_averages(rows, "method", benchmark).assign(task=AVERAGE, marks="")
    rows = pd.concat([rows, averages], ignore_index=True)
    rows = rows.assign(**scope, seeds=rows["seeds"].fillna(0))
    rows = rows.merge(
        _sizes(ours, [one for one in measured if one.backbone == backbone]), on="method", how="left"
    )
    available = [count for count in counts if count.backbone in ("", backbone)]
    for kind in ("trained", "stored"):
        rows[f"published_{kind}"] = rows["method"].map(_published_sizes(available, kind))
    # The method that stores most comes first; tasks in the benchmark's order, then the average
    place = task_order(rows["task"]) + (rows["task"] == AVERAGE)
    rows = rows.assign(place=place, stored=rows["stored_pct_high"].fillna(-1))
    rows = rows.sort_values(["stored", "method", "place"], ascending=[False, True, True], kind="stable")
    return rows[COLUMNS]


def _with_published(ours: pd.DataFrame, published: pd.DataFrame, scope: Mapping[str, Any]) -> pd.DataFrame:
    published = published.rename(columns={"value": "published", "metric": "published_metric"})
    rows = ours.merge(published, on=["method", "task"], how="outer")
    comparable = rows["comparable"].eq(True)
    rows["marks"] = rows["marks"].fillna("")
    # As far as known, papers report the best epoch on the rows that they score; cross-fitted scores do not.
    if scope["selection"] == "held_out":
        rows.loc[comparable, "marks"] += BEST_EPOCH_MARK
    for gap, score in (("gap", "mean"), ("gap_low", "low"), ("gap_high", "high")):
        rows[gap] = (rows[score] - rows["published"]).where(comparable & is_benchmark(scope["data"]))
    return rows.assign(tasks=rows["task"])


def _sizes(ours: pd.DataFrame, counted: Sequence[Measurement]) -> pd.DataFrame:
    """Return the minimum and maximum size by method: of its runs, else of all counted settings."""
    # The sizes of a run are those of its own options; counted settings fill in for methods without runs.
    runs = ours.dropna(subset="trained_pct")
    others = [one for one in counted if one.method not in set(runs["method"])]
    rows = runs.to_dict("records") + [{"method": one.method, **_percentages(one.rows[0])} for one in others]
    sizes = pd.DataFrame(rows, columns=["method", *_PERCENTAGES]).astype(dict.fromkeys(_PERCENTAGES, float))
    bounds = sizes.groupby("method")[_PERCENTAGES].agg(["min", "max"])
    bounds.columns = pd.Index([f"{size}_{end}" for size in _PERCENTAGES for end in ("low", "high")])
    return bounds.reset_index()


def _percentages(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the percentages of a measurement; none if the method refuses the backbone."""
    if not row.get("trained"):
        return {} if "refused" in row else {"trained_pct": 0.0, "stored_pct": 0.0}
    backbone_values = 100 * row["trained"] / row["trained_pct"]
    stored = 100 * row["stored_bytes"] / (FP32_BYTES * backbone_values)
    return {"trained_pct": row["trained_pct"], "stored_pct": stored}


def _published_sizes(counts: Sequence[PublishedCount], kind: str) -> dict[str, str]:
    sizes: dict[str, list[str]] = defaultdict(list)
    for count in counts:
        if count.counted == kind:
            sizes[count.method].append(count.published + HEAD_MARKS[count.counts_head])
    return {method: "; ".join(dict.fromkeys(printed)) for method, printed in sizes.items()}


def main_page(rows: pd.DataFrame, benchmark: BenchmarkTasks = GLUE_TASKS) -> Page:
    """Return the page of `main_rows` of a benchmark."""
    tables = [_table(scope, benchmark) for _, scope in rows.groupby(SECTION, sort=False)]
    if benchmark is GLUE_TASKS:
        return Page("glue_main", "PaFi and HiWi: the main table", _READING, rows, tables)
    name, title = f"{benchmark.title.lower()}_main", f"{benchmark.title}: the main table"
    return Page(name, title, (_SUPERGLUE_READING, SETTING_NOTE), rows, tables)


def _table(rows: pd.DataFrame, benchmark: BenchmarkTasks) -> Table:
    tasks = [task for task in (*benchmark.tasks, AVERAGE) if task in set(rows["task"])]
    lines = [line for _, method in rows.groupby("method", sort=False) for line in _lines(method, tasks)]
    published = rows[["marks", "published_trained", "published_stored"]].astype(object).fillna("")
    marks = "".join(published.to_numpy().ravel())
    columns = [
        *texts("method", "numbers"),
        *numbers("% trained", "% stored", *(_title(task, rows, benchmark) for task in tasks)),
    ]
    collapsed = collapse_notes(rows[rows["task"] != AVERAGE], "method")
    notes = [
        *data_notes(rows["data"].iloc[0], benchmark.title),
        *training_data_notes(rows),
        *legend(marks),
        *collapsed,
    ]
    return Table(scope_title(rows), columns, lines, notes, common_signature(rows))


def _title(task: str, rows: pd.DataFrame, benchmark: BenchmarkTasks) -> str:
    if task != AVERAGE:
        return task_name(task)
    tasks = rows.loc[rows["task"] == AVERAGE, "tasks"].iloc[0]
    return AVERAGE if set(tasks.split()) == set(benchmark.averaged) else f"mean of {task_names(tasks)}"


def _lines(rows: pd.DataFrame, tasks: Sequence[str]) -> Iterator[list[Cell]]:
    """Yield the lines of one method: ours, published and the gap; the last two only if they have a value."""
    first = rows.iloc[0]
    by_task = rows.set_index("task").reindex(tasks).to_dict("records")
    sizes = [Range(first[f"{size}_low"], first[f"{size}_high"], PERCENTAGE) for size in _PERCENTAGES]
    scores = [
        Number(row["mean"], POINTS, row["low"], row["high"], marks=collapsed_mark(row["collapsed"]))
        for row in by_task
    ]
    yield [Text(first["method"]), Text("ours"), *sizes, *scores]
    published_sizes = [first["published_trained"], first["published_stored"]]
    if any(isinstance(size, str) for size in published_sizes) or rows["published"].notna().any():
        cells = [Text(size) if isinstance(size, str) else EMPTY for size in published_sizes]
        published = [
            EMPTY if pd.isna(row["published"]) else Number(row["published"], POINTS, marks=row["marks"])
            for row in by_task
        ]
        yield [EMPTY, Text("published"), *cells, *published]
    if rows["gap"].notna().any():
        gaps = [Number(row["gap"], DIFFERENCE, row["gap_low"], row["gap_high"]) for row in by_task]
        yield [EMPTY, Text("gap"), EMPTY, EMPTY, *gaps]
