"""Numbers that papers print: scores and counts of values, with what makes them comparable with our runs.

The files are below ``results/published``; its README explains the columns and the classes of protocols.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pandas as pd
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError, unknown
from gluelamp.records import Measurement
from gluelamp.reporting.labels import flatten
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


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PublishedCount:
    """A printed number of values: a row of ``results/published/counts``."""

    method: str
    backbone: str
    published: str
    value: float = Field(gt=0)
    counted: Literal["trained", "stored"]
    counts_head: Literal["yes", "no", "unstated"]
    setting: str
    paper: str
    table: str
    source: str
    note: str

    def ratio(self, row: Mapping[str, Any]) -> float:
        """Return our number over the printed one, for a row of a measurement with trained values."""
        # Compare like with like: what the paper counts, with the head only if the paper counts it.
        ours = row["stored_values" if self.counted == "stored" else "trained"]
        ours += row["head"] if self.counts_head == "yes" else 0
        # A percentage is relative to the backbone, whose size follows from our own percentage.
        percent = row["trained_pct"] / row["trained"] if self.published.endswith("%") else 1
        return float(percent * ours / self.value)


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


def read_counts(path: Path) -> list[PublishedCount]:
    """Return the published counts in the order of a file; none if it is missing.

    Raises:
        InputError: if a column is missing or superfluous, or a value is not allowed.
    """
    return read_rows(path, PublishedCount) if path.is_file() else []


def published_cells(
    one: Measurement, row: Mapping[str, Any], counts: Sequence[PublishedCount]
) -> dict[str, str]:
    """Return the cells ``published`` and ``notes`` of a row of a measurement of parameters."""
    if "refused" in row:
        return {"published": "", "notes": row["refused"]}
    printed = [
        count for count in counts if count.method == one.method and count.backbone in ("", one.backbone)
    ]
    options = {f"{key}={value}" for key, value in flatten(one.config).items()}
    # In a note, only options that differ from ours explain a difference.
    settings = {option.replace('"', "").replace(" ", "") for option in options}  # as on the command line
    return {
        "published": "; ".join(count.published for count in printed),
        "notes": ". ".join(_note(count, row, settings) for count in printed),
    }


def _note(count: PublishedCount, row: Mapping[str, Any], settings: set[str]) -> str:
    stored = " stored" if count.counted == "stored" else ""
    place = f"{count.published}{stored} ({count.paper.partition(' (')[0]}, {count.table})"
    other = " ".join(option for option in count.setting.split() if option not in settings)
    parts = [f"ours/published {count.ratio(row):.3f}", other and f"published with {other}", count.note]
    return f"{place}: {'; '.join(filter(None, parts))}"


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
