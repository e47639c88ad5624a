"""The accuracy table for human readers, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.aggregation import SAMPLE, SELECTIONS
from gluelamp.reporting.markdown import literal, markdown_table
from gluelamp.reporting.pages import failures, grid_as_markdown
from gluelamp.reporting.statistics import Cell, rank_intervals
from gluelamp.reporting.ties import RULE, possibly_best
from gluelamp.tasks.glue import GLUE

SAMPLE_NOTE = "The bundled sample is synthetic: it shows that the machinery runs and says nothing about GLUE."
PUBLISHED_NOTE = (
    "Published for the same method, backbone, task and metric, on the whole development set; "
    "`results/published` holds each number's protocol and source."
)
_READING = """\
Scores times 100, in each task's main metric: mean ± sample standard deviation (number of seeds); a plain
number is one seed.

- **held-out epoch**: each half of the validation rows is scored at the epoch that the other half chose.
  **best epoch**: chosen and scored on the same rows, which flatters. **last epoch**: nothing is chosen.
- **average**: over the same tasks and the same seeds for every method; empty for a method with others.
- **95 %**: the interval of the mean over examples and seeds; of one seed over examples alone.
- **rank**: of the mean, in brackets its 95 % interval, from comparisons of the method with all others.
"""
_BARE = "No bold and no ranks, since some runs have no predictions here or are on other rows"
_TITLES = {"held_out": "held-out epoch", "best": "best epoch", "last": "last epoch"}
_AVERAGED = [task for task in GLUE if task not in ("wnli", "ax")]  # as in GLUE papers


def accuracy_page(rows: pd.DataFrame, failed: Sequence[RunRecord]) -> str:
    """Return ``glue_accuracy.md``: tables per data and backbone, and the failures.

    Args:
        rows: the rows of :func:`gluelamp.reporting.aggregation.summarise`; may be empty.
        failed: the runs that failed.
    """
    parts = ["# GLUE accuracy\n"]
    if len(rows):
        parts += [_READING, RULE + "\n"]
        for (data, backbone), of_backbone in rows[rows["is_main"]].groupby(["data", "backbone"], sort=False):
            parts += _sections(f"## {data} data, {backbone}, ", of_backbone)
    if failed:
        parts.append(grid_as_markdown(failures(failed)))
    return "\n".join(parts)


def _sections(title: str, rows: pd.DataFrame) -> Iterator[str]:
    note = [SAMPLE_NOTE + "\n"] if rows["data"].iloc[0].startswith(SAMPLE) else []
    for selection, section in _by_selection(rows).items():
        yield from [f"{title}{_TITLES[selection]}\n", *note, _wide_table(section)]
        if bare := [task for task, of_task in section.groupby("task", sort=False) if not _cells(of_task)]:
            yield f"{_BARE}: {', '.join(bare)}.\n"
        if section["published"].notna().any():
            yield from [PUBLISHED_NOTE + "\n", _published_table(section)]
    yield from [f"{title}task by task\n", *note]
    for task, of_task in rows.groupby("task", sort=False):
        yield f"### {_task_title(task, of_task)}\n"
        yield _task_table(_by_selection(of_task))


def _by_selection(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each selection that there is, the strictest first."""
    parts = {selection: rows[rows["selection"] == selection] for selection in SELECTIONS}
    return {selection: part for selection, part in parts.items() if len(part)}


def _wide_table(section: pd.DataFrame) -> str:
    columns: dict[str, Mapping[str, str]] = {}
    for task, of_task in section.groupby("task", sort=False):
        bold = possibly_best(cells) if (cells := _cells(of_task)) else set()
        scores = _mean_over_seeds(of_task)
        columns[_task_title(task, of_task)] = {
            method: f"**{score}**" if method in bold else score for method, score in scores.items()
        }
    columns |= _average(section)
    methods = sorted(section["method"].unique())
    return _method_table(columns, methods)


def _average(section: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the column of the averages, if there are any, under a title that says what they are over."""
    there = set(section["task"])
    tasks = _AVERAGED if there.issuperset(_AVERAGED) else [task for task in GLUE if task in there]
    if len(tasks) < 2:
        return {}
    of_methods = section[section["task"].isin(tasks)].groupby("method")
    complete = {method: rows for method, rows in of_methods if len(rows) == len(tasks)}
    seeds = {method: tuple(rows["seed_set"]) for method, rows in complete.items()}
    counts = Counter(seeds.values())
    usual = max(counts, key=lambda some: (counts[some], sum(map(len, some))), default=())
    averages = {
        method: _percent(rows["mean"].mean(skipna=False))
        for method, rows in complete.items()
        if seeds[method] == usual
    }
    title = "GLUE average" if tasks == _AVERAGED else f"average of {', '.join(tasks)}"
    return {title: averages} if averages else {}


def _task_table(parts: Mapping[str, pd.DataFrame]) -> str:
    """Return all about one task: what is sure of the leading selection, beside the others' means."""
    leading, *others = parts
    rows = parts[leading].sort_values("mean", ascending=False, kind="stable")
    columns = {
        "rank": _ranks(rows),
        _TITLES[leading]: _mean_over_seeds(rows),
        "95 %": dict(zip(rows["method"], map(_interval, rows["low"], rows["high"]), strict=True)),
    }
    if (rows["seeds"] > 1).any():
        columns["median"] = dict(zip(rows["method"], map(_percent, rows["median"]), strict=True))
    columns |= {_TITLES[other]: _mean_over_seeds(parts[other]) for other in others}
    methods = dict.fromkeys(method for part in (rows, *parts.values()) for method in part["method"])
    return _method_table(columns, methods)


def _method_table(columns: Mapping[str, Mapping[str, str]], methods: Iterable[str]) -> str:
    """Return a table with one line a method, empty where a column has nothing of it."""
    lines = [
        [literal(method), *(column.get(method, "") for column in columns.values())] for method in methods
    ]
    return markdown_table(["method", *columns], lines)


def _ranks(rows: pd.DataFrame) -> dict[str, str]:
    return {
        method: f"{rank} [{low}, {high}]"
        for method, rank, low, high in rank_intervals(_cells(rows)).itertuples(index=False)
    }


def _cells(of_task: pd.DataFrame) -> dict[str, Cell]:
    """Return the predictions of all methods that have a score; none if they cannot all be compared."""
    scored = of_task[of_task["mean"].notna()]
    labels = {cell and cell.labels.tobytes() for cell in scored["cell"]}
    can_compare = len(labels) == 1 and None not in labels
    return dict(zip(scored["method"], scored["cell"], strict=True)) if can_compare else {}


def _mean_over_seeds(rows: pd.DataFrame) -> dict[str, str]:
    described = zip(rows["method"], rows["mean"], rows["std"], rows["seeds"], strict=True)
    return {
        method: _percent(mean)
        + (f" ± {_percent(std)}" if seeds > 1 and pd.notna(mean) else "")
        + (f" ({seeds})" if seeds > 1 else "")
        for method, mean, std, seeds in described
    }


def _published_table(section: pd.DataFrame) -> str:
    known = section.dropna(subset="published").drop_duplicates(["name", "task"])
    tasks = list(known["task"].unique())
    values = known.set_index(["name", "task"])["published"].to_dict()
    lines = [
        [name, *(_percent(values[name, task]) if (name, task) in values else "" for task in tasks)]
        for name in sorted(known["name"].unique())
    ]
    return markdown_table(["method", *tasks], lines)


def _task_title(task: str, rows: pd.DataFrame) -> str:
    return f"{task} ({rows['metric'].iloc[0].replace('_', ' ')})"


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{_percent(low)}, {_percent(high)}]"


def _percent(fraction: float) -> str:
    return "n/a" if pd.isna(fraction) else f"{100 * fraction:.2f}"
