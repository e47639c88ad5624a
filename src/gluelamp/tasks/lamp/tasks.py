"""The classification and rating tasks of LaMP (Salemi et al., ACL 2024, arXiv 2304.11406).

Every task has three labelled splits of our own, made per user (`gluelamp.tasks.lamp.splits`): the
official splits separate users or times, and the golds of the official test files are not public.
"""

from __future__ import annotations

from dataclasses import replace

from gluelamp.tasks.task import Task

# The order of all label lists is that of the official scorer, eval/evaluation.py of LaMP-Benchmark/LaMP;
# the news list is the one that stood there as LaMP_2 before 2024-03-20.
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

_LAMP_LICENCE = "CC BY-NC-SA 4.0 (LaMP's construction); each underlying data set keeps its own licence"
_LAMP_CITATION = "Salemi, Mysore, Bendersky, Zamani: LaMP, ACL 2024, arXiv 2304.11406"


def _classes(name: str, labels: tuple[str, ...], text_columns: tuple[str, ...] = ("text",)) -> Task:
    return Task(
        name=name,
        text_columns=text_columns,
        labels=labels,
        metrics=("accuracy", "macro_f1"),
        main_metric="accuracy",
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
_TIME_BASED = tuple(replace(task, name=f"{task.name}_time") for task in _USER_BASED)
_MOVIELENS = replace(
    _ratings("movielens_rating"),
    licence="MovieLens terms: research use only, no redistribution",
    citation="Harper, Konstan: The MovieLens Datasets, TiiS 2015; in the record schema of LaMP-3, not LaMP",
)

LAMP = {task.name: task for task in (*_USER_BASED, *_TIME_BASED, _MOVIELENS, _scores(_MOVIELENS))}
