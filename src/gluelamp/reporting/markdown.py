"""The tables for human readers, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from gluelamp.records import RunRecord
from gluelamp.reporting.aggregation import SAMPLE, SELECTIONS
from gluelamp.reporting.ties import RULE, Score, best_and_ties

SAMPLE_NOTE = "The bundled sample is synthetic: it shows that the machinery runs and says nothing about GLUE."
PUBLISHED_NOTE = (
    "Published for the same method, backbone, task and metric; `results/published` holds each "
    "number's protocol and source."
)
_READING = (
    "Scores times 100, in each task's main metric: mean ± sample standard deviation (number of "
    "seeds); a plain number is one seed."
)


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1, last_texts: int = 0
) -> str:
    """Return a Markdown table.

    Args:
        header: the column titles.
        rows: the cells; a bar or a line break in them is made harmless.
        texts: how many leading columns are text; the others are numbers, aligned right.
        last_texts: how many columns at the end are text, too.
    """
    numbers = range(texts, len(header) - last_texts)
    rule = ["--:" if position in numbers else ":--" for position in range(len(header))]
    lines = [header, rule, *([_in_a_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def accuracy_page(rows: pd.DataFrame, failed: Sequence[RunRecord]) -> str:
    """Return ``glue_accuracy.md``: a wide table per data, backbone and selection, and the failures.

    Args:
        rows: the rows of :func:`gluelamp.reporting.aggregation.summarise`; may be empty.
        failed: the runs that failed.
    """
    parts = ["# GLUE accuracy\n"]
    if len(rows):
        parts += [_READING + "\n", RULE + "\n", *_sections(rows[rows["is_main"]])]
    if failed:
        parts += failures(failed)
    return "\n".join(parts)


def _sections(rows: pd.DataFrame) -> Iterator[str]:
    for (data, backbone), of_backbone in rows.groupby(["data", "backbone"], sort=False):
        for selection in SELECTIONS:
            yield f"## {data} data, {backbone}, {selection} epoch\n"
            if data.startswith(SAMPLE):
                yield SAMPLE_NOTE + "\n"
            section = of_backbone[of_backbone["selection"] == selection]
            yield _wide_table(section)
            if section["published"].notna().any():
                yield PUBLISHED_NOTE + "\n"
                yield _published_table(section)


def _wide_table(section: pd.DataFrame) -> str:
    columns: dict[str, dict[str, str]] = {}
    for task, of_task in section.groupby("task", sort=False):
        scores = _scores_of(of_task)
        cells = map(_mean_over_seeds, scores, best_and_ties(scores))
        title = f"{task} ({scores[0].metric.replace('_', ' ')})"
        columns[title] = dict(zip(of_task["method"], cells, strict=True))
    methods = sorted(section["method"].unique())
    if len(columns) > 1 and all(len(column) == len(methods) for column in columns.values()):
        averages = section.groupby("method")["mean"].agg(lambda means: means.mean(skipna=False))
        columns["average"] = {method: _percent(averages[method]) for method in methods}
    lines = [[method, *(column.get(method, "") for column in columns.values())] for method in methods]
    return markdown_table(["method", *columns], lines)


def _scores_of(rows: pd.DataFrame) -> list[Score]:
    columns = ("metric", "mean", "std", "seeds", "examples")
    return [Score(*values) for values in zip(*(rows[column] for column in columns), strict=True)]


def _mean_over_seeds(score: Score, is_bold: bool) -> str:
    text = _percent(score.mean)
    if score.seeds > 1:
        text += f" ± {_percent(score.std)} ({score.seeds})"
    return f"**{text}**" if is_bold else text


def _published_table(section: pd.DataFrame) -> str:
    known = section.dropna(subset="published").drop_duplicates(["name", "task"])
    tasks = list(known["task"].unique())
    values = known.set_index(["name", "task"])["published"].to_dict()
    lines = [
        [name, *(_percent(values[name, task]) if (name, task) in values else "" for task in tasks)]
        for name in sorted(known["name"].unique())
    ]
    return markdown_table(["method", *tasks], lines)


def failures(failed: Sequence[RunRecord]) -> list[str]:
    """Return the section of a page about runs that failed: its title and its table."""
    lines = [
        [
            record.config["backbone"]["name"],
            record.config["method"]["name"],
            record.config["task"]["name"],
            str(record.config["seed"]),
            record.error or "no message",
        ]
        for record in failed
    ]
    header = ["backbone", "method", "task", "seed", "error"]
    return ["## Failed runs\n", markdown_table(header, sorted(lines), texts=len(header))]


def _percent(fraction: float) -> str:
    return "n/a" if pd.isna(fraction) else f"{100 * fraction:.2f}"


def _in_a_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
