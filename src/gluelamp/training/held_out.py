"""Scores on rows that had no say in which evaluation they are from.

The best of several evaluations on some rows is flattered on these very rows. So each half of the rows chooses
the evaluation by which the other half is scored; every row is scored once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gluelamp.errors import InputError
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.evaluation import Outputs, evaluate_splits

_SEED = 0  # one division for all runs on the same rows: they stay comparable row by row


@dataclass
class Choice:
    """The evaluation that one half of the rows chose.

    Args:
        number: of the evaluation, counted from 0.
        score: the main metric on that half, turned so that more is better.
        outputs: of all rows.
    """

    number: int
    score: float
    outputs: Outputs


class HeldOut:
    """Follows the evaluations of a run and keeps what each half of the rows chooses.

    Args:
        task: the declaration, whose main metric chooses.
        validation: the validation splits.

    Raises:
        InputError: if a split has fewer than two rows, which have no halves.
    """

    def __init__(self, task: Task | Mixture, validation: Mapping[str, EncodedSplit]) -> None:
        for name, split in validation.items():
            if len(split) < 2:
                raise InputError(
                    f"Split {name!r} has {len(split)} rows, and two halves of it are scored apart. Needed: "
                    "two rows or more."
                )
        self._task, self._validation = task, dict(validation)
        self._first = {name: first_half(len(split)) for name, split in validation.items()}
        self._halves = [
            {name: np.flatnonzero(first == is_first) for name, first in self._first.items()}
            for is_first in (True, False)
        ]
        self._splits = [
            {name: validation[name].take(rows) for name, rows in half.items()} for half in self._halves
        ]
        self._choices: list[Choice] = []

    def look(self, number: int, outputs: Outputs) -> None:
        """Let both halves see an evaluation.

        Args:
            number: of the evaluation, counted from 0.
            outputs: of all rows.
        """
        scores = [self._score(half, outputs) for half in range(2)]
        if not self._choices:
            self._choices = [Choice(number, score, outputs) for score in scores]
        for half, score in enumerate(scores):
            if score > self._choices[half].score:
                self._choices[half] = Choice(number, score, outputs)

    def _score(self, half: int, outputs: Outputs) -> float:
        own = {name: outputs[name][rows] for name, rows in self._halves[half].items()}
        score = evaluate_splits(self._task, self._splits[half], own)[self._task.main_metric]
        return -score if self._task.lower_is_better else score

    @property
    def numbers(self) -> tuple[int, int]:
        """The evaluations that the first and the second half chose."""
        first, second = self._choices
        return first.number, second.number

    @property
    def outputs(self) -> Outputs:
        """The outputs of each row at the evaluation that the other half chose."""
        of_first, of_second = self._choices
        return {
            name: np.where(first[:, None], of_second.outputs[name], of_first.outputs[name])
            for name, first in self._first.items()
        }

    @property
    def metrics(self) -> dict[str, float]:
        """The task's metrics of `outputs`, over all rows."""
        return evaluate_splits(self._task, self._validation, self.outputs)

    def state(self) -> list[dict[str, Any]]:
        """Return what a killed run needs."""
        return [
            {**vars(choice), "outputs": {k: torch.from_numpy(v) for k, v in choice.outputs.items()}}
            for choice in self._choices
        ]

    def load_state(self, state: list[dict[str, Any]]) -> None:
        """Go on from what `state` returned."""
        self._choices = [
            Choice(**{**choice, "outputs": {k: v.numpy() for k, v in choice["outputs"].items()}})
            for choice in state
        ]


def first_half(rows: int) -> np.ndarray:
    """Return which of some rows are in the first half, (rows,) bool; of an odd number it has one more."""
    return np.random.default_rng(_SEED).permutation(rows) < (rows + 1) // 2
