"""The declaration of a task, and its rows once they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from gluelamp.records import CustomSection

Source = Literal["hub", "local", "sample", "custom"]
ERRORS = ("mae", "rmse")
"""Metrics of which less is better."""


@dataclass(frozen=True)
class Task:
    """The declaration of one task on single texts or pairs of texts.

    Args:
        name: the short name, such as ``"cola"``. The hub's configuration has the same name.
        benchmark: the name of the benchmark that reads and scores it, see `gluelamp.tasks.benchmarks`.
        text_columns: the one or two text columns, in the order in which they are encoded.
        labels: class names by class id; empty for a regression task.
        metrics: the metrics of the benchmark's rules, in the order in which they are reported.
        main_metric: the metric that selects the best epoch and is shown in the tables.
        rows: official number of rows per split; 0 where there is no official split of that name.
        validation_splits: the splits on which a run is evaluated.
        test_splits: the splits with hidden labels.
        submission: file name on the benchmark server per test split; empty if there is no server.
        label_range: lowest and highest label of a regression task.
        licence: the licence of the data, or where to find it.
        citation: the source of the data, in one line.
        user_column: the column with the user of each row; None if the task has no users.
        group_column: the column with the group of each row, such as the question that an answer belongs to;
            None if rows are independent. Metrics may count groups, and all statistics sample whole groups.
        one_true_per_group: whether exactly one row of each group has class 1. Then the row of the group with
            the highest score for class 1 is predicted to have it, and no other one.
        lower_is_better: whether the main metric is an error.
    """

    name: str
    benchmark: str
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    main_metric: str
    rows: Mapping[str, int]
    submission: Mapping[str, str]
    licence: str
    citation: str
    validation_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)
    label_range: tuple[float, float] | None = None
    user_column: str | None = None
    group_column: str | None = None
    one_true_per_group: bool = False
    lower_is_better: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether the label is a number rather than a class."""
        return not self.labels

    @property
    def kind(self) -> Literal["classification", "regression"]:
        """The type of the labels."""
        return "regression" if self.is_regression else "classification"

    @property
    def num_outputs(self) -> int:
        """Number of values that the head returns per example."""
        return max(len(self.labels), 1)

    # With a bias of 0, a regression head needs hundreds of steps to reach the mean of the labels. Until then
    # nothing else is learnt.
    @property
    def initial_head_bias(self) -> tuple[float, ...]:
        """The initial bias of the head: the middle of the label range of a regression task, else zeros."""
        return (sum(self.label_range) / 2,) if self.label_range else (0.0,) * self.num_outputs

    @property
    def splits(self) -> tuple[str, ...]:
        """All split names, in the benchmark's order."""
        return tuple(self.rows)


@dataclass(frozen=True)
class TaskData:
    """The checked rows of one task, from one source.

    Args:
        task: the declaration.
        source: ``"hub"``, ``"local"``, ``"sample"`` or, of a user's own rows, ``"custom"``; it is stored in
            every record and shown in every table.
        splits: one frame per split, with the columns ``idx`` (int64), the user column and the group column
            (str) if the task has them, the task's text columns (str) and ``label`` (int64, or float64 for
            regression; -1 where hidden).
        fingerprint: sha256 (hexadecimal) over the content of all splits.
        deviations: one sentence for each known difference from the official data.
        revision: the hub's commit, where it is known.
        declaration: of a task on a user's own rows, as its records hold it; None for a task of a benchmark.
    """

    task: Task
    source: Source
    splits: Mapping[str, pd.DataFrame]
    fingerprint: str
    deviations: tuple[str, ...] = ()
    revision: str | None = None
    declaration: CustomSection | None = None


def changes_scores(deviation: str) -> bool:
    """Return whether a sentence of `TaskData.deviations` is on rows that are trained on or scored."""
    # The test split of GLUE and SuperGLUE is neither. The splits of LaMP are made from all of its files.
    return re.match(r"train|validation|\w+_questions", deviation) is not None
