"""The classification and rating tasks of LaMP (Salemi et al., ACL 2024, arXiv 2304.11406), and their files.

Every task has three labelled splits, made per user by `gluelamp.tasks.lamp.rows.split_users`. The
official splits are not used: they separate users or times, and the labels of the official test files
are not public.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gluelamp.tasks.task import Task

# The order of all label lists is that of the official scorer, eval/evaluation.py of LaMP-Benchmark/LaMP.
# The news list is the one that the scorer had as LaMP_2 before 2024-03-20.
CITATIONS = ("[1]", "[2]")
NEWS = (
    *("food & drink", "sports", "education", "parents", "religion", "travel", "business", "crime"),
    *("science & technology", "culture & arts", "entertainment", "politics", "women"),
    *("style & beauty", "healthy living"),
)
MOVIE_TAGS = (
    *("sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy"),
    *("classic", "psychology", "fantasy", "romance", "thought-provoking", "social commentary"),
    *("violence", "true story"),
)
RATINGS = ("1", "2", "3", "4", "5")
FILE_SPLITS = ("train", "dev", "test")
"""The official files of a task, in the order in which they are read."""

_LAMP_LICENCE = "CC BY-NC-SA 4.0 (LaMP's construction); each underlying data set keeps its own licence"
_LAMP_CITATION = "Salemi, Mysore, Bendersky, Zamani: LaMP, ACL 2024, arXiv 2304.11406"


def _classes(name: str, labels: tuple[str, ...], text_columns: tuple[str, ...] = ("text",)) -> Task:
    return Task(
        name=name,
        benchmark="lamp",
        text_columns=text_columns,
        labels=labels,
        metrics=("accuracy", "macro_f1"),
        main_metric="accuracy",
        # LaMP has no official split of labelled rows, so there are no official numbers of rows.
        rows={"train": 0, "validation": 0, "test": 0},
        submission={},
        licence=_LAMP_LICENCE,
        citation=_LAMP_CITATION,
        validation_splits=("validation", "test"),
        test_splits=(),
        user_column="user",
    )


def _ratings(name: str) -> Task:
    return replace(_classes(name, RATINGS), metrics=("accuracy", "macro_f1", "mae", "rmse"))


# A rating is ordinal. As a number it is trained with the squared error and measured by its distance.
def _scores(task: Task) -> Task:
    return replace(
        task,
        name=f"{task.name}_score",
        labels=(),
        metrics=("mae", "rmse"),
        main_metric="mae",
        label_range=(1.0, 5.0),
        lower_is_better=True,
    )


_LAMP_3 = _ratings("lamp3")
_USER_BASED = (
    _classes("lamp1", CITATIONS, ("text", "references")),
    _classes("lamp2n", NEWS),
    _classes("lamp2m", MOVIE_TAGS),
    _LAMP_3,
    _scores(_LAMP_3),
)
# The time-based files have other records for the same tasks. Scores on them are not comparable.
_TIME_BASED = tuple(replace(task, name=f"{task.name}_time") for task in _USER_BASED)
_MOVIELENS = replace(
    _ratings("movielens_rating"),
    licence="MovieLens terms: research use only, no redistribution",
    citation="Harper, Konstan: The MovieLens Datasets, TiiS 2015; in the record schema of LaMP-3, not LaMP",
)

LAMP = {task.name: task for task in (*_USER_BASED, *_TIME_BASED, _MOVIELENS, _scores(_MOVIELENS))}

# Titles may contain quotes. The greedy groups are bounded by the fixed words of the instruction.
_CITATION = re.compile(
    r'title "(?P<text>.*)", which reference is related\?.*'
    r'\[1\]: "(?P<first>.*)" \[2\]: "(?P<second>.*)"\s*$',
    re.DOTALL,
)


@dataclass(frozen=True)
class RecordFormat:
    """The official files of one task, and the form of their records.

    Args:
        folders: possible names of the task's folder, in order of preference.
        site: the task's folder on the official site; None if it is not there.
        query: extracts the texts from a record's ``input``, one per text column; None if there are none.
        text_key: the key of a profile item that holds the same kind of text as the first text column.
        label_key: the key of a profile item that holds its label; None if it has none.
        records: official numbers of records per file, where they are known for certain.
        without_gold: the ids of dev records that may lack their gold label.
        deviation: a sentence that is true of every copy of these data.
        folder_deviations: a sentence per folder name.
    """

    folders: tuple[str, ...]
    site: str | None
    query: Callable[[str], tuple[str, ...] | None]
    text_key: str
    label_key: str | None
    records: Mapping[str, int] = field(default_factory=dict)
    without_gold: frozenset[str] = frozenset()
    deviation: str | None = None
    folder_deviations: Mapping[str, str] = field(default_factory=dict)


def _after(marker: str) -> Callable[[str], tuple[str, ...] | None]:
    def query(text: str) -> tuple[str, ...] | None:
        _, present, rest = text.partition(marker)
        return (rest,) if present else None

    return query


def _citation(text: str) -> tuple[str, ...] | None:
    match = _CITATION.search(text)
    return (match["text"], f"[1] {match['first']} [2] {match['second']}") if match else None


# Markers and keys come from the official LaMP/prompts and rank_profiles.py. The numbers of records are
# those counted in official files. A number from memory could call a complete copy incomplete.
_FORMATS = {
    "lamp1": RecordFormat(
        folders=("LaMP_1",),
        site="LaMP_1",
        query=_citation,
        text_key="title",
        label_key=None,
        records={"dev": 2500, "test": 2500},
    ),
    "lamp2n": RecordFormat(
        folders=("LaMP_2N", "LaMP_2", "LaMP_2N_dev_rebuilt"),
        site="LaMP_2",
        query=_after("article:"),
        text_key="text",
        label_key="category",
        records={"train": 5914, "dev": 1052, "test": 1274},
        # These two records have no gold in the official dev outputs.
        without_gold=frozenset({"110", "111"}),
        folder_deviations={
            "LaMP_2N_dev_rebuilt": "the profiles of the rebuilt LaMP-2N dev file hold only a few "
            "retrieved articles each"
        },
    ),
    "lamp2m": RecordFormat(
        folders=("LaMP_2M", "LaMP_2/new"),
        site="LaMP_2/new",
        query=_after("description:"),
        text_key="description",
        label_key="tag",
        records={"dev": 692},
    ),
    "lamp3": RecordFormat(
        folders=("LaMP_3",),
        site="LaMP_3",
        query=_after("review:"),
        text_key="text",
        label_key="score",
        records={"dev": 2500, "test": 2500},
    ),
    "movielens_rating": RecordFormat(
        folders=("movielens_rating",),
        site=None,
        query=_after("movie:"),
        text_key="text",
        label_key="score",
        deviation="MovieLens ratings in LaMP-3's shape, not LaMP",
    ),
}
_TIME_RECORDS: dict[str, dict[str, int]] = {
    "lamp1": {"train": 6542, "dev": 1500, "test": 1500},
    "lamp2n": {},
    "lamp2m": {"dev": 1410, "test": 1557},
    "lamp3": {},
}


def record_format(task: Task) -> RecordFormat:
    """Return the official files of a LaMP task and the form of their records.

    Args:
        task: a declaration of `LAMP`; its class and score variants have the same files.
    """
    name = task.name.removesuffix("_time")
    base = name.removesuffix("_score")
    user_based = _FORMATS[base]
    if name == task.name:
        return user_based
    return replace(
        user_based,
        folders=tuple(path for folder in user_based.folders for path in (f"time/{folder}", f"{folder}_time")),
        site=f"time/{user_based.site}",
        records=_TIME_RECORDS[base],
        without_gold=frozenset(),
    )
