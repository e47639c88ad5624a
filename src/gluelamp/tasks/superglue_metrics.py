"""The metrics of SuperGLUE (Wang et al., NeurIPS 2019, section 3), from predicted and true class ids."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gluelamp.tasks.task import Task


def superglue_metrics(
    task: Task, predictions: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> dict[str, float]:
    """Return the metrics of a SuperGLUE task, in the task's order.

    - ``accuracy``: the fraction of right rows. One of COPA's two choices is predicted, so both rows of a
      question are right or none, and this is the fraction of right questions.
    - ``f1``: of class 1 over all rows; of MultiRC, over the answers of all questions (F1a).
    - ``macro_f1``: the mean of the F1 of all classes that occur in labels or predictions.
    - ``exact_match``: the fraction of groups whose rows are all right (MultiRC's EM).
    - ``gender_parity``: the fraction of pairs whose two rows have the same prediction, right or wrong (AX-g).

    Args:
        task: a declaration of `gluelamp.tasks.superglue`.
        predictions: class ids, shape (n,).
        labels: the gold labels, shape (n,).
        groups: the group of each row, shape (n,); None if the task has no groups.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef  # slow to import

    functions = {
        "accuracy": lambda: accuracy_score(labels, predictions),
        "f1": lambda: f1_score(labels, predictions, zero_division=0.0),
        "macro_f1": lambda: f1_score(labels, predictions, average="macro", zero_division=0.0),
        "matthews_correlation": lambda: matthews_corrcoef(labels, predictions),
        "exact_match": lambda: pd.Series(predictions == labels).groupby(groups).all().mean(),
        "gender_parity": lambda: pd.Series(predictions).groupby(groups).nunique().eq(1).mean(),
    }
    return {name: float(functions[name]()) for name in task.metrics}
