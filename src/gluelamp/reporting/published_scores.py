"""Scores that papers print, with what makes them comparable with our runs, and how a user adds more.

The files are below ``results/published``; its README explains the columns and the classes of protocols.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Annotated, Self, TypeVar

import pandas as pd
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError, unknown
from gluelamp.io import write_text
from gluelamp.reporting.rendering import as_csv
from gluelamp.tasks.catalogue import known_task
from gluelamp.tasks.glue import GLUE

Key = tuple[str, str, str, str]
"""Method, backbone, task and metric."""

# Runs of the suite start from the pre-trained checkpoint and are scored on the complete development set.
COMPARABLE = "dev"
PROTOCOL_MARKS = {"dev from MNLI": "ᵐ", "held-out part of dev": "ᵖ", "test": "ᵗ", "unstated split": "ˢ"}
"""Classes of protocols whose scores are shown with a mark, the closest to `COMPARABLE` first. Scores of
all other classes, such as low-resource runs, are not shown."""
METRIC_MARK = "ᶠ"
BEST_EPOCH_MARK = "ᵇ"
HEAD_MARKS = {"yes": "ʰ", "unstated": "ᵘ", "no": ""}
"""By whether a source counts the head."""
_LEGEND = {
    PROTOCOL_MARKS["dev from MNLI"]: "trained on MNLI first; ours never are: no gap",
    BEST_EPOCH_MARK: "on the complete development set, at its best epoch there as far as this is known, "
    "which is optimistic; our epoch is selected on held-out rows",
    METRIC_MARK: "another metric than ours (F1 and not accuracy, both sets of MNLI together, Spearman or a "
    "mean of two correlations, or a metric that is not named): no gap",
    PROTOCOL_MARKS["held-out part of dev"]: "on a held-out part of the development set: no gap",
    PROTOCOL_MARKS["test"]: "on the benchmark server's test set: no gap",
    PROTOCOL_MARKS["unstated split"]: "the source does not name the split: no gap",
    HEAD_MARKS["yes"]: "includes the task head; ours does not",
    HEAD_MARKS["unstated"]: "the source does not state whether the head is counted",
}

OTHER_METRICS = {
    "mnli": {"accuracy_mismatched", "accuracy_overall", "accuracy_unspecified"},
    "stsb": {"correlation_unspecified", "mean_of_pearson_and_spearman"},
    "mrpc": {"accuracy_or_f1"},
    "qqp": {"accuracy_or_f1"},
}
"""Names of metrics that papers print and this suite does not compute, by task."""

_Words = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_PROTOCOL = (
    r"^(dev|dev from MNLI|held-out part of dev|test|unstated split"
    r"|dev after \d+ training rows|(dev|test|unstated split) on [^;]+)(;|$)"
)
PAPERS = ("pafi_hiwi", "xpeft")
"""Files of the folder to which a user can add scores."""
_Row = TypeVar("_Row")


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PublishedScore:
    """A printed score: a row of ``results/published``."""

    paper: _Words
    table: _Words
    method: _Words
    backbone: _Words
    protocol: Annotated[_Words, Field(pattern=_PROTOCOL)]
    task: _Words
    metric: _Words
    # Text, not a number: trailing zeros show the precision of the paper.
    value: Annotated[str, StringConstraints(strip_whitespace=True)]
    source: _Words

    @model_validator(mode="after")
    def _check_metric(self) -> Self:
        metrics = {*known_task(self.task).metrics, *OTHER_METRICS.get(self.task, ())}
        if self.metric not in metrics:
            raise unknown(f"metric of {self.task}", self.metric, metrics)
        return self

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        try:
            number = float(self.value)
        except ValueError as error:
            raise ValueError(f"value {self.value!r} is not a number; write it as printed") from error
        if not math.isfinite(number) or not -100 <= number <= 100:
            raise ValueError(f"value {self.value} is outside -100 to 100 percent")
        return self


COLUMNS = [field.name for field in fields(PublishedScore)]


def read_published(folder: Path) -> Mapping[Key, float]:
    """Return the published score, as a fraction, of each key with a comparable one.

    Where several papers publish it, the method's own paper comes first, then the order of the files (by name)
    and of their rows.

    Args:
        folder: CSV files with the columns `COLUMNS`, each named after the methods of its paper, such as
            ``lora.csv``. A missing folder holds no numbers.

    Raises:
        InputError: if a file has other columns, or a value that is not allowed.
    """
    rows = published_rows(folder)
    rows = rows[rows["split"] == COMPARABLE]
    key = ["method", "backbone", "task", "metric"]
    return rows.drop_duplicates(key).set_index(key)["value"].to_dict()


def closest_scores(folder: Path) -> pd.DataFrame:
    """Return the published score closest to this suite's protocol, for each method, backbone and task.

    A score in the task's main metric precedes one in another metric; then the order is that of
    `published_rows`.

    Args:
        folder: as in `read_published`.

    Returns:
        the columns `COLUMNS`, ``value`` as a fraction; ``marks``, one letter for each difference of the
        protocol; and ``comparable``: whether our score - this one is meaningful.
    """
    rows = published_rows(folder)
    rows = rows[rows["task"].isin(GLUE)]
    # Another metric is shown with a mark only where no paper prints the main one.
    is_other = rows["metric"] != [GLUE[task].main_metric for task in rows["task"]]
    marks = rows["split"].map(PROTOCOL_MARKS).fillna("") + is_other.map({True: METRIC_MARK, False: ""})
    rows = rows.assign(is_other=is_other, marks=marks, comparable=rows["split"].eq(COMPARABLE) & ~is_other)
    nearest = rows.sort_values("is_other", kind="stable").drop_duplicates(["method", "backbone", "task"])
    return nearest[[*COLUMNS, "marks", "comparable"]].reset_index(drop=True)


def published_rows(folder: Path) -> pd.DataFrame:
    """Return the published scores that can be shown next to a run, the preferred ones first.

    The order is: the class of the protocol (`COMPARABLE`, then `PROTOCOL_MARKS`), then rows of
    the method's own paper, then the files by name and their rows.

    Returns:
        the columns `COLUMNS`, ``value`` as a fraction, and ``split``: the class of the protocol.
    """
    rows = pd.DataFrame(
        [
            {**asdict(row), "is_quoted": row.method.split("_")[0] not in file.stem.split("_")}
            for file in sorted(folder.glob("*.csv"))
            # pafi_hiwi.csv holds the own paper of pafi and hiwi, ether.csv that of ether and ether_plus.
            for row in read_rows(file, PublishedScore)
        ],
        columns=[*COLUMNS, "is_quoted"],
    )
    preference = {name: place for place, name in enumerate((COMPARABLE, *PROTOCOL_MARKS))}
    rows["value"] = rows["value"].astype(float) / 100
    rows["split"] = rows["protocol"].str.split(";").str[0]
    rows["preference"] = rows["split"].map(preference)
    rows = rows.dropna(subset="preference").sort_values(["preference", "is_quoted"], kind="stable")
    return rows[[*COLUMNS, "split"]]


def legend(marks: str) -> list[str]:
    """Return the meaning of each mark that occurs in a text, as notes of a table."""
    return [f"{mark} {meaning}" for mark, meaning in _LEGEND.items() if mark in marks]


def read_rows(path: Path, layout: type[_Row]) -> list[_Row]:
    """Return the rows of a CSV file in their order.

    Args:
        path: a file with a header.
        layout: a pydantic dataclass with a field for each column.

    Raises:
        InputError: if the file is not UTF-8, a column is missing or superfluous, or a value is not allowed.
            The message names file, row and column.
    """
    try:
        # Spreadsheet programs begin UTF-8 files with a byte order mark, which `utf-8-sig` removes. Cells
        # beyond the header get a key that no row type accepts.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey="beyond the header")
            rows, header = list(reader), reader.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV in UTF-8: {error}. Save it as such.") from error
    names = [field.name for field in fields(layout)]  # type: ignore[arg-type]
    if missing := [name for name in names if name not in header]:
        raise InputError(f"{path} has no column {missing[0]!r}; the columns must be {', '.join(names)}.")
    try:
        return TypeAdapter(list[layout]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        # One error is enough: the user corrects the file and repeats the command.
        first = error.errors(include_url=False)[0]
        row, *column = first["loc"]
        place = ", ".join([f"row {int(row) + 1}", *(f"column {name}" for name in column)])
        sentence = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(f"{path}, {place}: {sentence}.") from error


def add_published(
    file: Path, paper: str, folder: Path, methods: Collection[str], backbones: Collection[str]
) -> int:
    """Merge a file of printed scores into those of one paper. Nothing is written unless every row is valid.

    Args:
        file: a CSV file with the columns `COLUMNS`.
        paper: one of `PAPERS`: the file in the folder that receives the rows.
        folder: of the published numbers.
        methods: the allowed names of methods.
        backbones: the allowed names of backbones.

    Returns:
        the number of new rows.

    Raises:
        InputError: if the file is missing, a row is not allowed or occurs twice, or a value contradicts a
            published one.
    """
    if paper not in PAPERS:
        raise unknown("paper", paper, PAPERS)
    columns = ", ".join(COLUMNS)
    if not file.is_file():
        raise InputError(f"{file} is no file; give a CSV file with the columns {columns}.")
    new = read_rows(file, PublishedScore)
    if not new:
        raise InputError(f"{file} has no row; give one number per row, in the columns {columns}.")
    _check_rows(file, new, {"method": methods, "backbone": backbones})
    # Everything is checked before the first byte is written.
    target = folder / f"{paper}.csv"
    present = read_rows(target, PublishedScore) if target.is_file() else []
    added = _new_rows(file, new, present)
    write_text(target, as_csv(pd.DataFrame(map(astuple, [*present, *added]), columns=COLUMNS)))
    return len(added)


def _check_rows(file: Path, rows: Sequence[PublishedScore], allowed: Mapping[str, Collection[str]]) -> None:
    for number, row in enumerate(rows, start=1):
        for column, names in allowed.items():
            if getattr(row, column) not in names:
                raise InputError(f"{file}, row {number}: {unknown(column, getattr(row, column), names)}")
        # A printed score below 1 % exists, but it is far rarer than a percentage entered as a fraction.
        if 0 < abs(float(row.value)) < 1:
            raise InputError(
                f"{file}, row {number}: value {row.value} looks like a fraction; write it as printed, "
                "in percent."
            )


def _new_rows(
    file: Path, rows: Sequence[PublishedScore], present: Sequence[PublishedScore]
) -> list[PublishedScore]:
    """Return the rows that are not published yet. Rows that contradict one another are an error."""
    values = {_cell_key(row): row.value for row in present}
    numbers: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows, start=1):
        cell = _cell_key(row)
        if cell in numbers:
            raise InputError(f"{file}, row {number}: the same cell as row {numbers[cell]}; remove one.")
        numbers[cell] = number
        # Compared as numbers: "50" and "50.0" do not contradict each other.
        if float(values.get(cell, row.value)) != float(row.value):
            raise InputError(
                f"{file}, row {number}: value {row.value} contradicts the published value {values[cell]} of "
                f"the same cell of {row.paper}, {row.table}; correct one of them."
            )
    return [row for row in rows if _cell_key(row) not in values]


def _cell_key(row: PublishedScore) -> tuple[str, ...]:
    """Return what identifies the printed number: every column except the value and its source."""
    return (row.paper, row.table, row.method, row.backbone, row.protocol, row.task, row.metric)
