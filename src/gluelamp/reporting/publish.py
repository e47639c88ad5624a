"""Adds a user's reading of a paper to the published numbers, after checking every row of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Self

import pandas as pd
from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError, unknown
from gluelamp.records import write_text
from gluelamp.reporting.csv_rows import read_rows
from gluelamp.reporting.pages import as_csv
from gluelamp.reporting.published import COLUMNS
from gluelamp.tasks.glue import glue_task

PAPERS = ("pafi_hiwi", "xpeft")
OTHER_METRICS = {
    "mnli": {"accuracy_mismatched", "accuracy_overall", "accuracy_unspecified"},
    "stsb": {"correlation_unspecified", "mean_of_pearson_and_spearman"},
    "mrpc": {"accuracy_or_f1"},
    "qqp": {"accuracy_or_f1"},
}
"""Names of metrics that papers print and this suite does not compute, by task."""

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_PROTOCOL = (
    r"^(dev|dev from MNLI|held-out part of dev|test|unstated split"
    r"|dev after \d+ training rows|(dev|test|unstated split) on [^;]+)(;|$)"
)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PublishedScore:
    """A printed score: a row of ``results/published``, whose README explains the columns."""

    paper: _Text
    table: _Text
    method: _Text
    backbone: _Text
    protocol: Annotated[_Text, Field(pattern=_PROTOCOL)]
    task: _Text
    metric: _Text
    value: Annotated[str, StringConstraints(strip_whitespace=True)]  # as printed, zeros at the end too
    source: _Text

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        known = {*glue_task(self.task).metrics, *OTHER_METRICS.get(self.task, ())}
        if self.metric not in known:
            raise unknown(f"metric of {self.task}", self.metric, known)
        return self

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        try:
            number = float(self.value)
        except ValueError as error:
            raise ValueError(f"value {self.value!r} is not a number; write it as printed") from error
        if not math.isfinite(number) or not -100 <= number <= 100:
            raise ValueError(f"value {self.value} is outside -100 to 100 percent")
        if 0 < abs(number) < 1:
            raise ValueError(f"value {self.value} looks like a fraction; write it as printed, in percent")
        return self

    @property
    def cell(self) -> tuple[str, ...]:
        """What two rows with different values would contradict each other about."""
        return (self.paper, self.table, self.method, self.backbone, self.protocol, self.task, self.metric)


def add_published(
    file: Path, paper: str, folder: Path, methods: Collection[str], backbones: Collection[str]
) -> int:
    """Merge a file of printed numbers into those of one paper; nothing is written unless all is well.

    Args:
        file: a CSV file with the columns :data:`gluelamp.reporting.published.COLUMNS`.
        paper: one of :data:`PAPERS`: the file of the folder that takes the rows.
        folder: of the published numbers.
        methods: the names that a row may have.
        backbones: the same of backbones.

    Returns:
        how many rows were new.

    Raises:
        InputError: if the file is missing, a row is not allowed or stands twice, or a value contradicts one
            that is there.
    """
    if paper not in PAPERS:
        raise unknown("paper", paper, PAPERS)
    if not file.is_file():
        raise InputError(f"{file} is no file; give a CSV file with the columns {', '.join(COLUMNS)}.")
    new = read_rows(file, PublishedScore)
    if not new:
        raise InputError(f"{file} has no row; give one number a row, in the columns {', '.join(COLUMNS)}.")
    target = folder / f"{paper}.csv"
    present = read_rows(target, PublishedScore) if target.is_file() else []
    _check_names(file, new, {"method": methods, "backbone": backbones})
    _check_repeats(file, new)
    added = _not_yet(file, new, present)
    write_text(target, as_csv(pd.DataFrame(map(astuple, [*present, *added]), columns=COLUMNS)))
    return len(added)


def _check_names(file: Path, rows: Sequence[PublishedScore], known: Mapping[str, Collection[str]]) -> None:
    for number, row in enumerate(rows, start=1):
        for column, names in known.items():
            if getattr(row, column) not in names:
                raise InputError(f"{file}, row {number}: {unknown(column, getattr(row, column), names)}")


def _check_repeats(file: Path, rows: Sequence[PublishedScore]) -> None:
    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, start=1):
        if row.cell in first:
            raise InputError(f"{file}, row {number}: the same cell as row {first[row.cell]}; keep one.")
        first[row.cell] = number


def _not_yet(
    file: Path, rows: Sequence[PublishedScore], present: Sequence[PublishedScore]
) -> list[PublishedScore]:
    values = {row.cell: row.value for row in present}
    for number, row in enumerate(rows, start=1):
        there = values.get(row.cell, row.value)
        if float(there) != float(row.value):
            raise InputError(
                f"{file}, row {number}: value {row.value} contradicts {there}, which stands in the published "
                f"numbers for the same cell of {row.paper}, {row.table}; correct one of them."
            )
    return [row for row in rows if row.cell not in values]
