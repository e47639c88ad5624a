"""What a user should know about their own rows before a training: classes, repeated, cut and empty texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from gluelamp.tasks.encoding import EncodedSplit, count_truncated
from gluelamp.tasks.task import Task, TaskData

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_log = logging.getLogger(__name__)
_MOST_CLASSES = 20  # whose rows are counted in one line
_logged: set[tuple[str, int]] = set()


def log_rows(
    data: TaskData,
    rows: Mapping[str, pd.DataFrame],
    encoded: Sequence[EncodedSplit],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> None:
    """Log counts of a task's rows, once for all runs of this process on the same rows.

    Args:
        data: of the task.
        rows: the training rows and the validation rows, by split.
        encoded: the same rows, encoded.
        tokenizer: of the encoder.
        max_length: the maximum number of tokens of a text.
    """
    key = (data.fingerprint, max_length)
    if key in _logged:
        return
    _logged.add(key)
    for split, frame in rows.items():
        _log.info("%s", label_counts(data.task, split, frame))
    cut = sum(
        count_truncated(one, frame, data.task, tokenizer, max_length)
        for one, frame in zip(encoded, rows.values(), strict=True)
    )
    total = sum(map(len, rows.values()))
    _log.info(
        "%.1f %% of the texts have more than %d tokens and are truncated (trainer.max_length)",
        *(100 * cut / total, max_length),
    )
    for warning in text_warnings(data.task, *rows.values()):
        _log.warning("%s", warning)


def label_counts(task: Task, split: str, frame: pd.DataFrame) -> str:
    """Return a sentence on the labels of a split.

    Args:
        task: the declaration.
        split: its name.
        frame: its rows, with the column ``label``.
    """
    labels, rows = frame["label"], f"{split}: {len(frame):,} rows"
    if task.is_regression:
        return f"{rows}, labels from {labels.min():g} to {labels.max():g}, mean {labels.mean():.4g}"
    counts = labels.value_counts().reindex(range(len(task.labels)), fill_value=0)
    if len(counts) > _MOST_CLASSES:
        return f"{rows} of {len(counts)} classes, {counts.min():,} to {counts.max():,} a class"
    parts = (
        f"{task.labels[number]} {count:,} ({count / len(frame):.0%})" for number, count in counts.items()
    )
    return f"{rows}: {', '.join(parts)}"


def text_warnings(task: Task, train: pd.DataFrame, validation: pd.DataFrame) -> list[str]:
    """Return a sentence for each kind of text that makes a score doubtful.

    Args:
        task: the declaration; of a pair of texts both must be equal.
        train: the training rows.
        validation: the rows that are scored.
    """
    texts = list(task.text_columns)
    warnings = []
    if repeated := int(train.duplicated(texts).sum()):
        warnings.append(
            f"{repeated:,} training rows repeat an earlier text; {_conflicts(train, texts):,} texts have "
            "different labels"
        )
    labels = train.groupby(texts)["label"].agg(set)
    known = validation.join(labels.rename("training_labels"), on=texts, how="inner")
    if len(known):
        other = sum(
            label not in seen for label, seen in zip(known["label"], known["training_labels"], strict=True)
        )
        warnings.append(
            f"{len(known):,} of {len(validation):,} validation rows have the text of a training row, "
            f"{other:,} of them with another label: a model may remember them"
        )
    both = pd.concat([train, validation])
    if empty := int((both[texts].apply(lambda column: column.str.strip()) == "").any(axis=1).sum()):
        warnings.append(f"{empty:,} of {len(both):,} rows have an empty text")
    return warnings


def _conflicts(rows: pd.DataFrame, texts: Sequence[str]) -> int:
    return int((rows.groupby(list(texts))["label"].nunique() > 1).sum())
