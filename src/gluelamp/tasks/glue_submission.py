"""The files for the GLUE server (gluebenchmark.com): a TSV per test set, ``index`` and ``prediction``."""

from __future__ import annotations

import pandas as pd

from gluelamp.tasks.glue import GLUE
from gluelamp.tasks.submission import TestServer
from gluelamp.tasks.task import Task

# The server expects class names for these test sets and class ids for the others, WNLI included.
_NAMED_CLASSES = ("mnli", "qnli", "rte", "ax")


def _tsv(task: Task, rows: pd.DataFrame) -> str:
    values = rows["prediction"]
    if task.label_range is not None:
        # A similarity outside the range is not a valid answer. Adding 0.0 turns -0.0 into 0.0.
        values = values.clip(*task.label_range) + 0.0
    elif task.name in _NAMED_CLASSES:
        values = values.map(dict(enumerate(task.labels)))
    table = pd.DataFrame({"index": rows["idx"], "prediction": values})
    return table.to_csv(sep="\t", index=False, float_format="%.3f", lineterminator="\n")


GLUE_SERVER = TestServer(
    name="GLUE",
    suffix=".tsv",
    files=tuple(f"{stem}.tsv" for task in GLUE.values() for stem in task.submission.values()),
    text=_tsv,
)
"""Of the eleven files of a complete submission, in the order of the task declarations."""
