"""The bundled sample: synthetic, GLUE-shaped rows for all tasks.

It tests the software and is no evidence about GLUE. The rows are made from word lists and templates; no
row of a real data set is among them. They are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.tasks.sample import glue
from gluelamp.tasks.sample.words import COUNTRY, TOWN, Scene
from gluelamp.tasks.tables import SAMPLE_PLACE, Reading, Table, numbered
from gluelamp.tasks.task import Task

_NOISE = 0.04  # fraction of wrong labels in train and validation, so that no method reaches 100 %
_TRAIN_ROWS = {"rte": 1000, "wnli": 600}
_MAKERS: dict[str, Callable[[Random, Scene], glue.Example]] = {
    "cola": glue.cola,
    "sst2": glue.sst2,
    "mrpc": glue.mrpc,
    "qqp": glue.qqp,
    "stsb": glue.stsb,
    "mnli": glue.mnli,
    "qnli": glue.qnli,
    "rte": glue.rte,
    "wnli": glue.wnli,
    "ax": glue.mnli,
}


def generate(task: Task) -> dict[str, pd.DataFrame]:
    """Return the sample of one GLUE task.

    Args:
        task: the declaration of one of the nine tasks or of the diagnostic set.

    Returns:
        One frame per split with the columns ``idx`` (int64), the text columns (str) and ``label``
        (int64, or float64 for regression; -1 in the test splits). No example is in two splits.
    """
    if task.name not in _MAKERS:
        raise InputError(
            f"Task {task.name!r} has no bundled sample. Set data=local or data=hub. Tasks with a sample: "
            f"{', '.join(_MAKERS)}."
        )
    # Python's generator with a string as seed gives the same numbers on every machine; the tests pin them.
    rng = Random(f"gluelamp sample {task.name}")
    seen: set[tuple[str, ...]] = set()
    return {split: _frame(task, split, rng, seen) for split in task.splits}


def read_sample(task: Task) -> Reading:
    """Return the sample of one GLUE task as a source of rows."""
    tables = {
        split: Table(numbered(frame), f"the bundled sample, {task.name}/{split}")
        for split, frame in generate(task).items()
    }
    return Reading(tables, "sample", SAMPLE_PLACE)


def _frame(task: Task, split: str, rng: Random, seen: set[tuple[str, ...]]) -> pd.DataFrame:
    # MNLI's mismatched splits and the diagnostic set are from another domain, as the real ones are.
    scene = COUNTRY if split.endswith("_mismatched") or task.name == "ax" else TOWN
    rows: list[tuple[int | float | str, ...]] = []
    while len(rows) < _size(task, split):
        texts, label = _MAKERS[task.name](rng, scene)
        # Skip duplicates and pairs of equal texts, whose label would be trivial.
        if texts in seen or len(set(texts)) < len(texts):
            continue
        seen.add(texts)
        if split in task.test_splits:
            label = -1
        elif rng.random() < _NOISE:
            label = _wrong(task, rng, label)
        rows.append((len(rows), *texts, label))
    frame = pd.DataFrame(rows, columns=["idx", *task.text_columns, "label"])
    return frame.astype({"idx": "int64", "label": "float64" if task.is_regression else "int64"})


def _size(task: Task, split: str) -> int:
    if split == "train":
        return _TRAIN_ROWS.get(task.name, 1600)
    if split in task.test_splits:
        return 200
    return 100 if task.name == "wnli" else 400


def _wrong(task: Task, rng: Random, label: float) -> float:
    if task.label_range:
        return round(rng.uniform(*task.label_range), 1)
    return rng.choice([other for other in range(task.num_outputs) if other != label])
