"""Datasets on which the weights of a backbone were trained before any run, where they resemble a task."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pandas as pd

from gluelamp.reporting.labels import task_names

_NLI = ("SNLI", "MultiNLI")
_RESEMBLING = {
    **dict.fromkeys(("rte", "mnli", "ax", "super_rte", "cb", "axb", "axg"), _NLI),
    "qnli": ("SQuAD 2.0",),
    "qqp": ("Quora question pairs",),
}
"""For each task, the datasets that it was made from or that pose the same problem."""
# The table "Training data" of the model cards, which are in the packages with the weights, too. Their other
# datasets resemble no task.
_SENTENCE_PAIRS = (*_NLI, "Quora question pairs", "SQuAD 2.0")
_TRAINED_ON = {
    # sentence-transformers/all-MiniLM-L6-v2
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db": _SENTENCE_PAIRS,
    # sentence-transformers/all-mpnet-base-v2
    "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658": _SENTENCE_PAIRS,
}
"""By the sha256 of the weights, which identifies them under any name and from any source."""


def seen_datasets(checksum: str, tasks: Iterable[str]) -> str:
    """Return the datasets that resemble a task and on which weights were trained after their pre-training.

    Args:
        checksum: sha256 of the weights.
        tasks: the task of a run, or all tasks of a mixture.

    Returns:
        their names, as a list in a sentence; empty if there are none, or if the weights are not listed here.
    """
    resembling: Collection[str] = {name for task in tasks for name in _RESEMBLING.get(task, ())}
    return _listed([name for name in _TRAINED_ON.get(checksum, ()) if name in resembling])


def training_data_notes(rows: pd.DataFrame) -> list[str]:
    """Return a note for the tasks of a table that resemble earlier training data of its backbones.

    Args:
        rows: the scores of the table, with the columns ``backbone``, ``task`` and ``seen_datasets``.
    """
    seen = rows[rows["seen_datasets"].fillna("").astype(bool)]
    return [
        f"{task_names(' '.join(group['task'].unique()))}: after its pre-training and before any run, "
        f"`{backbone}` was trained on {datasets} (`docs/protocol.md`, Initial weights)."
        for (backbone, datasets), group in seen.groupby(["backbone", "seen_datasets"], sort=False)
    ]


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
