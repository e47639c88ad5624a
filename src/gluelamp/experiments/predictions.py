"""Per-example outputs, kept beside the record so that any paired test can be made later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task


def write_predictions(
    path: Path,
    task: Task | Mixture,
    train: EncodedSplit,
    splits: Mapping[str, EncodedSplit],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Write the head's outputs for each evaluated row, as Parquet.

    Columns: ``selection`` (best, last, held_out), ``split``, ``idx``, ``label``, ``output_0`` ... Where
    rows belong to persons, also ``user``, and what a guess without a model predicts: the most frequent
    class of the training rows, or their median score, of all persons (``baseline_all``) and of the row's
    own (``baseline_user``).

    Args:
        path: the file.
        task: the declaration.
        train: the training rows.
        splits: the evaluated splits.
        outputs: by selection and split, (examples, outputs).
    """
    described = {name: _columns(task, train, rows) for name, rows in splits.items()}
    frames = [
        pd.DataFrame(
            {"selection": selection, "split": name, **described[name]}
            | {f"output_{column}": values[:, column] for column in range(values.shape[1])}
        )
        for selection, by_split in outputs.items()
        for name, values in by_split.items()
    ]
    temporary = path.with_suffix(".partial")
    pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    temporary.replace(path)


def _columns(task: Task | Mixture, train: EncodedSplit, rows: EncodedSplit) -> dict[str, np.ndarray]:
    columns = {"idx": rows.idx, "label": rows.labels}
    if rows.users is None or train.users is None or isinstance(task, Mixture):
        return columns
    labels = pd.Series(train.labels)
    own = labels.groupby(train.users).agg(lambda few: _guess(task, few))
    guesses = pd.Series(rows.users).map(own)
    everyone = np.full(len(rows), _guess(task, labels))
    return columns | {
        "user": rows.users,
        "baseline_all": everyone,
        "baseline_user": guesses.fillna(everyone[0] if len(rows) else 0).to_numpy(),
    }


def _guess(task: Task, labels: pd.Series) -> float:
    return float(labels.median() if task.is_regression else labels.mode().iloc[0])
