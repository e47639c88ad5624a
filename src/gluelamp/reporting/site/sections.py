"""The part of the page on one source of data, backbone and head: scores, their runs and charts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.labels import HEADS, SELECTIONS, collapse_notes, collapsed_mark, task_name
from gluelamp.reporting.rendering import (
    EMPTY,
    POINTS,
    Cell,
    Number,
    Range,
    Table,
    Text,
    numbers,
    score_format,
    texts,
)
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.charts import FAMILIES, Family
from gluelamp.reporting.site.panels import Panels, score_panels
from gluelamp.reporting.statistics import comparable, possibly_best
from gluelamp.reporting.summary import (
    GLUE_TASKS,
    SCOPE,
    BenchmarkTasks,
    by_benchmark,
    common_settings,
    task_averages,
)
from gluelamp.reporting.training_data import training_data_notes

RECORD_SECTIONS = {
    "versions": "Versions",
    "data": "Data",
    "protocol": "Protocol",
    "parameters": "Parameters",
    "bytes": "Bytes",
    "device": "Machine",
    "git": "Source code",
}
"""Titles of the sections of a record that are shown in full."""
_SIZES = {"trained": "trained", "method_bytes": "stored bytes", "shared_bytes": "shared bytes"}


@dataclass(frozen=True)
class RunGroup:
    """All seeds of one method in one setting on one task.

    Args:
        slug: its name in the page.
        data: label of the data.
        backbone: the name.
        head: title of the type of the head.
        method: the name, with what distinguishes its setting.
        task: the name.
        records: one per seed, in the order of seeds.
        links: from the page to the records' files.
        signature: of the score under the strictest selection of the epoch.
        words: of the command line that trains the runs again, without the seeds.
    """

    slug: str
    data: str
    backbone: str
    head: str
    method: str
    task: str
    records: Sequence[RunRecord]
    links: Sequence[str]
    signature: str
    words: Sequence[str]

    @property
    def record(self) -> RunRecord:
        """The first record; sizes, settings and metrics are those of all."""
        return self.records[0]

    @property
    def family(self) -> Family:
        """The method's family."""
        return FAMILIES.get(self.record.family or "", FAMILIES["other"])

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration of all seeds."""
        return {key: value for key, value in self.record.config_dict().items() if key != "seed"}

    @property
    def command(self) -> str:
        """The command line that trains all seeds again."""
        # Hydra's multirun trains one run per seed.
        sweep = ["-m"] if len(self.records) > 1 else []
        seeds = ",".join(str(record.config.seed) for record in self.records)
        return shlex.join(["gluelamp", "train", *sweep, *self.words, f"seed={seeds}"])

    @property
    def needs_root(self) -> bool:
        """Whether the command reads local rows without naming their folder."""
        return "data=local" in self.words and not any(word.startswith("data.root=") for word in self.words)

    def facts(self, section: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the different contents of a section of the records, each with the seeds that have it."""
        seeds: dict[str, list[str]] = {}
        for record in self.records:
            # Only what the file holds: a default would look like a recorded value.
            dumped = record.model_dump(mode="json", include={section}, exclude_unset=True)
            seeds.setdefault(json.dumps(dumped.get(section)), []).append(str(record.config.seed))
        return [
            ("" if len(seeds) == 1 else f"seed {', '.join(having)}", json.loads(content))
            for content, having in seeds.items()
        ]


@dataclass(frozen=True)
class Section:
    """One benchmark, source of data, backbone and head.

    Args:
        benchmark: the title of a benchmark other than GLUE, else empty.
        data: label of the data.
        backbone: the name.
        head: title of the type of the head.
        selection: title of the selection of the epoch in the overview and the charts.
        tasks: their names.
        methods: in the order of the overview.
        families: of the methods.
        overview: one row per method, one column per task.
        task_tables: one table per task, with all settings and selections.
        panels: the charts.
    """

    benchmark: str
    data: str
    backbone: str
    head: str
    selection: str
    tasks: Sequence[str]
    methods: Sequence[str]
    families: Sequence[Family]
    overview: Table
    task_tables: Sequence[Table]
    panels: Sequence[Panels]

    @property
    def slug(self) -> str:
        """Its name in links and files."""
        words = f"{self.data} {self.backbone} {self.head.removesuffix(' head')} {self.benchmark.lower()}"
        return "-".join(words.replace("(", "").replace(")", "").split())

    @property
    def scope(self) -> str:
        """The data, with the benchmark."""
        return f"{self.data} data" + (f", {self.benchmark}" if self.benchmark else "")


def run_groups(results: Results) -> dict[Path, RunGroup]:
    """Return the group of each run, by the run's folder.

    Args:
        results: of the folder in which the page is written.
    """
    records, summary = dict(results.runs), results.accuracy
    # One row per group: a summary has the strictest selection of the epoch first.
    keys = [*SCOPE, "variant", "task"]
    rows = summary[summary["is_main"].astype(bool)].drop_duplicates(keys)
    groups: dict[Path, RunGroup] = {}
    for number, row in enumerate(rows.sort_values(keys).to_dict("records"), start=1):
        folders = row["folders"]
        links = [f"{folder.relative_to(results.root).as_posix()}/record.json" for folder in folders]
        group = RunGroup(
            slug=f"runs-{number}",
            data=row["data"],
            backbone=row["backbone"],
            head=HEADS[row["head"]],
            method=row["variant"],
            task=row["task"],
            records=[records[folder] for folder in folders],
            links=links,
            signature=row["signature"],
            words=results.words(folders[0], records[folders[0]]),
        )
        groups |= dict.fromkeys(folders, group)
    return groups


def sections(summary: pd.DataFrame, groups: Mapping[Path, RunGroup]) -> list[Section]:
    """Return the sections of the page.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`, with the column ``published``.
        groups: of `run_groups`.
    """
    # The overview and the charts have one setting per method; the tables of the tasks have all of them.
    result = []
    for benchmark, part in by_benchmark(summary):
        common = common_settings(part.assign(label=part["method"]), benchmark=benchmark)
        scopes = dict(list(part.groupby(SCOPE, sort=False)))
        for key, rows in common.groupby(SCOPE, sort=False):
            result.append(_section(rows, scopes[key], groups, benchmark))
    return result


def _section(
    rows: pd.DataFrame, scope: pd.DataFrame, groups: Mapping[Path, RunGroup], benchmark: BenchmarkTasks
) -> Section:
    families = {row["label"]: groups[row["folders"][0]].family for row in rows.to_dict("records")}
    order = list(FAMILIES.values())
    methods = sorted(families, key=lambda method: (order.index(families[method]), method))
    records = {folder: group.records for folder, group in groups.items()}
    # The summary has the tasks in the order of the benchmark.
    tasks = list(scope.loc[scope["task"].isin(rows["task"]), "task"].unique())
    averages = task_averages(rows, "label", benchmark)
    first = rows.iloc[0]
    return Section(
        benchmark="" if benchmark is GLUE_TASKS else benchmark.title,
        data=first["data"],
        backbone=first["backbone"],
        head=HEADS[first["head"]],
        selection=SELECTIONS[first["selection"]],
        tasks=[task_name(task) for task in tasks],
        methods=methods,
        families=[family for family in order if family in families.values()],
        overview=_overview(rows, tasks, methods, groups),
        task_tables=[_task_table(on_task, groups) for _, on_task in scope.groupby("task", sort=False)],
        panels=list(score_panels(rows, averages, tasks, families, records)),
    )


def _overview(
    rows: pd.DataFrame, tasks: Sequence[str], methods: Sequence[str], groups: Mapping[Path, RunGroup]
) -> Table:
    """Return one row per method and one column per task."""
    cells = {(row["label"], row["task"]): row for row in rows.to_dict("records")}
    best = {(method, task) for task in tasks for method in _best(rows[rows["task"] == task])}
    lines: list[list[Cell]] = []
    for method in methods:
        scores = [cells.get((method, task)) for task in tasks]
        # Sizes depend on the task only through its head, which is not counted.
        first = next(row for row in scores if row is not None)
        group = groups[first["folders"][0]]
        means = [
            EMPTY
            if row is None
            else _mean(row, bold=(method, row["task"]) in best, opens=groups[row["folders"][0]].slug)
            for row in scores
        ]
        sizes = [Number(first[size]) for size in ("trained", "method_bytes")]
        lines.append([Text(method, symbol=group.family.symbol), *means, *sizes])
    columns = [*texts("method"), *numbers(*map(task_name, tasks), "trained", "stored bytes")]
    notes = [*training_data_notes(rows), *collapse_notes(rows, "label")]
    return Table("All tasks", columns, lines, notes)


def _best(rows: pd.DataFrame) -> set[str]:
    """Return the methods that no other is better than; none if not all scores are comparable."""
    scored = rows[rows["mean"].notna()]
    methods = comparable(dict(zip(scored["label"], scored["predictions"], strict=True)))
    return possibly_best(methods) if methods else set()


def _task_table(rows: pd.DataFrame, groups: Mapping[Path, RunGroup]) -> Table:
    """Return one row per method and setting, with the scores of every selection."""
    main = rows[rows["is_main"].astype(bool)]
    shown = [name for name in SELECTIONS if name in set(main["selection"])]
    first, *others = (SELECTIONS[name] for name in shown)
    titles = [first, "95 % interval", *others, "published", "seeds", "epochs", *_SIZES.values()]
    lines = [_task_line(on_method, shown, groups) for _, on_method in main.groupby("variant", sort=False)]
    title = f"{task_name(main['task'].iloc[0])} ({main['metric'].iloc[0].replace('_', ' ')})"
    columns = [*texts("method"), *numbers(*titles)]
    return Table(title, columns, lines, [*training_data_notes(main), *collapse_notes(main, "variant")])


def _task_line(rows: pd.DataFrame, shown: Sequence[str], groups: Mapping[Path, RunGroup]) -> list[Cell]:
    selected = {row["selection"]: row for row in rows.to_dict("records")}
    # Sizes, seeds and published scores do not depend on the selection of the epoch.
    any_row = next(iter(selected.values()))
    group = groups[any_row["folders"][0]]
    first, *others = (selected.get(name) for name in shown)
    return [
        Text(any_row["variant"], opens=group.slug, symbol=group.family.symbol),
        _mean(first) if first else EMPTY,
        Range(first["low"], first["high"], score_format(first["metric"]), is_interval=True)
        if first
        else EMPTY,
        *(_mean(row) if row else EMPTY for row in others),
        Number(any_row["published"], POINTS),
        *(Number(any_row[column]) for column in ("seeds", "epochs", *_SIZES)),
    ]


def _mean(row: Mapping[Any, Any], bold: bool = False, opens: str = "") -> Number:
    marks = collapsed_mark(row["collapsed"])
    return Number(
        row["mean"], score_format(row["metric"]), std=row["std"], marks=marks, bold=bold, opens=opens
    )
