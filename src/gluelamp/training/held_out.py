"""Cross-fitted (2-fold) epoch selection: scores on rows that did not select their evaluation.

The best of several evaluations on some rows has an optimistic score on these very rows. So the rows are split
into two halves. Each half selects the evaluation at which the other half is scored, and every row is
scored once. The rows of one group, such as the answers of one question, are in the same half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gluelamp.errors import InputError
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.halves import in_first_half
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.evaluation import Outputs, evaluate_splits


@dataclass
class SelectedEvaluation:
    """The evaluation that one half of the rows selects.

    Args:
        number: of the evaluation, counted from 0.
        score: the main metric on that half; negative if lower is better.
        outputs: of all rows.
    """

    number: int
    score: float
    outputs: Outputs


class HeldOut:
    """Tracks the evaluations of a run and stores the one that each half of the rows selects.

    Args:
        task: the declaration; its main metric selects.
        validation: the validation splits.

    Raises:
        InputError: if a split has fewer than two rows or, if they are in groups, fewer than two groups.
    """

    def __init__(self, task: Task | Mixture, validation: Mapping[str, EncodedSplit]) -> None:
        for name, split in validation.items():
            kind, number = ("rows", len(split)) if split.groups is None else ("groups", _count(split.groups))
            if number < 2:
                raise InputError(
                    f"Split {name!r} has {number} {kind}, which cannot be split into two halves. It needs "
                    f"two {kind} or more."
                )
        self._task, self._validation = task, dict(validation)
        self._first = {name: in_first_half(len(split), split.groups) for name, split in validation.items()}
        # Each split is divided on its own. The main metric comes from the first split, so that a further
        # split, such as MNLI's mismatched rows, follows its selection.
        self._halves = [
            {name: np.flatnonzero(first == is_first) for name, first in self._first.items()}
            for is_first in (True, False)
        ]
        self._splits = [
            {name: validation[name].take(rows) for name, rows in half.items()} for half in self._halves
        ]
        self._selected: list[SelectedEvaluation] = []

    def update(self, number: int, outputs: Outputs) -> None:
        """Take an evaluation into account.

        Args:
            number: of the evaluation, counted from 0.
            outputs: of all rows.
        """
        scores = [self._score(half, outputs) for half in range(2)]
        if not self._selected:
            self._selected = [SelectedEvaluation(number, score, outputs) for score in scores]
        for half, score in enumerate(scores):
            if score > self._selected[half].score:  # of equal evaluations, the first one
                self._selected[half] = SelectedEvaluation(number, score, outputs)

    def _score(self, half: int, outputs: Outputs) -> float:
        own = {name: outputs[name][rows] for name, rows in self._halves[half].items()}
        score = evaluate_splits(self._task, self._splits[half], own)[self._task.main_metric]
        return -score if self._task.lower_is_better else score

    @property
    def numbers(self) -> tuple[int, int]:
        """The evaluations that the first and the second half select."""
        first, second = self._selected
        return first.number, second.number

    @property
    def outputs(self) -> Outputs:
        """The outputs of each row at the evaluation that the other half selects."""
        # Crossed: a row of the first half is scored at the evaluation that the second half selects.
        by_first, by_second = self._selected
        return {
            name: np.where(is_first[:, None], by_second.outputs[name], by_first.outputs[name])
            for name, is_first in self._first.items()
        }

    @property
    def metrics(self) -> dict[str, float]:
        """The task's metrics of `outputs`, over all rows."""
        return evaluate_splits(self._task, self._validation, self.outputs)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return what a checkpoint stores."""
        return [
            {**vars(one), "outputs": {k: torch.from_numpy(v) for k, v in one.outputs.items()}}
            for one in self._selected
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Continue from what `state_dict` returned."""
        self._selected = [
            SelectedEvaluation(**{**one, "outputs": {k: v.numpy() for k, v in one["outputs"].items()}})
            for one in state
        ]


def _count(groups: np.ndarray) -> int:
    return len(set(groups))
