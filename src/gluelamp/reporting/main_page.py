"""The main table for human readers: three lines a method, of which papers have printed the second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from gluelamp.reporting.accuracy_page import SAMPLE_NOTE
from gluelamp.reporting.aggregation import SAMPLE
from gluelamp.reporting.entries import SETTING_NOTE
from gluelamp.reporting.formats import points, points_within, scope_title, share_range, task_name
from gluelamp.reporting.main_table import AVERAGE, SCOPE, TASKS
from gluelamp.reporting.pages import Grid, Page
from gluelamp.reporting.published import legend

_READING = (
    "Scores times 100 in the main metric of each task (Matthews correlation on CoLA, Pearson's on STS-B, "
    "else accuracy, of MNLI on the matched set), with the 95 % interval over examples and seeds; of one seed "
    "over examples alone. *Trained* and *stored* are percent of the backbone's values and of its bytes in "
    "fp32, without the task head; of a method without runs, from the least to the most of all settings that "
    "were counted. Means over tasks are on the same tasks and seeds for every method. The gap is ours minus "
    "published, where both are on all rows; its interval is that of ours, since papers print none.",
    "Small letters mark what differs in a published number; the CSV names its paper and protocol. PaFi's, "
    "HiWi's and X-PEFT's own tables are not available to this project: `results/published/README.md` says "
    "how to fill them.",
    SETTING_NOTE,
)


def main_page(rows: pd.DataFrame) -> Page:
    """Return the page of :func:`gluelamp.reporting.main_table.main_rows`."""
    grids = [_grid(of) for _, of in rows.groupby(SCOPE, sort=False)]
    return Page("glue_main", "PaFi and HiWi: the main table", _READING, rows, grids)


def _grid(rows: pd.DataFrame) -> Grid:
    is_sample = rows["data"].iloc[0].startswith(SAMPLE)
    columns = [task for task in (*TASKS, AVERAGE) if task in set(rows["task"])]
    titles = [_title(column, rows) for column in columns]
    lines = [line for _, of in rows.groupby("method", sort=False) for line in _lines(of, columns)]
    cells = pd.DataFrame(lines, columns=["method", "numbers", "% trained", "% stored", *titles])
    sample = [SAMPLE_NOTE] if is_sample else []
    return Grid(
        scope_title(rows),
        cells,
        texts=2,
        notes=[*sample, *legend("".join(map(str, cells.to_numpy().ravel())))],
    )


def _title(column: str, rows: pd.DataFrame) -> str:
    if column != AVERAGE:
        return task_name(column)
    tasks = rows.loc[rows["task"] == AVERAGE, "tasks"].iloc[0].split()
    return AVERAGE if set(tasks) == set(TASKS) else f"mean of {', '.join(map(task_name, tasks))}"


def _lines(rows: pd.DataFrame, columns: Sequence[str]) -> Iterator[list[str]]:
    first, by_task = rows.iloc[0], rows.set_index("task")
    of_tasks = [by_task.loc[column] if column in by_task.index else None for column in columns]
    ours = [_text(row, "mean", "low", "high") for row in of_tasks]
    theirs = ["" if row is None else points(row["published"]) + row["marks"] for row in of_tasks]
    gaps = [_text(row, "gap", "gap_low", "gap_high", sign=True) for row in of_tasks]
    shares = [
        share_range(first[f"{size}_low"], first[f"{size}_high"]) for size in ("trained_pct", "stored_pct")
    ]
    yield [first["method"], "ours", *shares, *ours]
    printed = [first["published_trained"], first["published_stored"]]
    sizes = [size if isinstance(size, str) else "" for size in printed]
    if any([*sizes, *theirs]):
        yield ["", "published", *sizes, *theirs]
    if any(gaps):
        yield ["", "gap", "", "", *gaps]


def _text(row: pd.Series | None, value: str, low: str, high: str, sign: bool = False) -> str:
    return "" if row is None else points_within(row[value], row[low], row[high], sign)
