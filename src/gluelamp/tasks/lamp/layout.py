"""What differs between the files of LaMP's tasks: names, markers, keys, official numbers of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from gluelamp.tasks.task import Task

SPLITS = ("train", "dev", "test")

_CITATION = re.compile(
    r'title "(?P<text>.*)", which reference is related\?.*'
    r'\[1\]: "(?P<first>.*)" \[2\]: "(?P<second>.*)"\s*$',
    re.DOTALL,
)


@dataclass(frozen=True)
class Layout:
    """The files of one task.

    Args:
        folders: the folder names that are looked for, in order.
        site: the task's folder on the official site; None if it is not there.
        query: finds the texts in a record's ``input``, one per text column; None where they are not.
        text_key: the key of a profile item that holds the same kind of text as the first text column.
        label_key: the key of a profile item that holds its label; None if it has none.
        records: official numbers of records by split, where they are known for sure.
        without_gold: the ids of dev records that may lack their gold.
        deviation: a sentence that holds for every copy of these data.
        folder_deviations: a sentence by folder name.
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
        _, found, rest = text.partition(marker)
        return (rest,) if found else None

    return query


def _citation(text: str) -> tuple[str, ...] | None:
    found = _CITATION.search(text)
    return (found["text"], f"[1] {found['first']} [2] {found['second']}") if found else None


# Markers and keys: the official LaMP/prompts and rank_profiles.py. Numbers of records: only those that
# were counted in official files, so that a copy is not called incomplete for a number from memory.
_LAYOUTS = {
    "lamp1": Layout(
        folders=("LaMP_1",),
        site="LaMP_1",
        query=_citation,
        text_key="title",
        label_key=None,
        records={"dev": 2500, "test": 2500},
    ),
    "lamp2n": Layout(
        folders=("LaMP_2N", "LaMP_2", "LaMP_2N_dev_rebuilt"),
        site="LaMP_2",
        query=_after("article:"),
        text_key="text",
        label_key="category",
        records={"train": 5914, "dev": 1052, "test": 1274},
        without_gold=frozenset({"110", "111"}),
        folder_deviations={
            "LaMP_2N_dev_rebuilt": "the profiles of the rebuilt LaMP-2N dev file hold only a few "
            "retrieved articles each"
        },
    ),
    "lamp2m": Layout(
        folders=("LaMP_2M", "LaMP_2/new"),
        site="LaMP_2/new",
        query=_after("description:"),
        text_key="description",
        label_key="tag",
        records={"dev": 692},
    ),
    "lamp3": Layout(
        folders=("LaMP_3",),
        site="LaMP_3",
        query=_after("review:"),
        text_key="text",
        label_key="score",
        records={"dev": 2500, "test": 2500},
    ),
    "movielens_rating": Layout(
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


def layout_of(task: Task) -> Layout:
    """Return where one LaMP task's files are, and how they are read.

    Args:
        task: a declaration of `gluelamp.tasks.lamp.tasks`.
    """
    name = task.name.removesuffix("_time")
    base = name.removesuffix("_score")
    layout = _LAYOUTS[base]
    if name == task.name:
        return layout
    return replace(
        layout,
        folders=tuple(place for folder in layout.folders for place in (f"time/{folder}", f"{folder}_time")),
        site=f"time/{layout.site}",
        records=_TIME_RECORDS[base],
        without_gold=frozenset(),
    )
