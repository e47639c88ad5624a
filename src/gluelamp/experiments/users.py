"""The users of a task: a profile is trained for each, and the results are those of one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from gluelamp.profiles import ProfileStore
from gluelamp.tasks.encoding import EncodedSplit
from gluelamp.tasks.task import Task
from gluelamp.training.evaluation import Outputs, evaluate_splits
from gluelamp.training.profile import Profile, Progress, Rates
from gluelamp.training.trainer import DivergedError, Outcome, Trainer

_log = logging.getLogger(__name__)

NewTrainer = Callable[[Sequence[Profile], Path], Trainer]
"""Makes a trainer of some profiles with a new model; its checkpoint is written to the folder."""


@dataclass(frozen=True)
class Users:
    """The users of a task, each with their own rows.

    Args:
        task: the declaration.
        train: the training rows of all users.
        validation: the validation splits of all users.
        per_pass: number of profiles that are trained in one pass.
        folder: holds what a resumed run needs: a folder for each group of users that are trained in the
            same passes, and in it a folder for each user.
    """

    task: Task
    train: EncodedSplit
    validation: Mapping[str, EncodedSplit]
    per_pass: int
    folder: Path

    @property
    def groups(self) -> dict[Path, list[str]]:
        """The users of each group, by the folder of the group."""
        # sorted, so that a resumed run forms the same groups
        names = sorted(set(() if self.train.users is None else self.train.users))
        starts = range(0, len(names), self.per_pass)
        return {self.folder / f"group-{start}": names[start : start + self.per_pass] for start in starts}

    def train_profiles(self, new_trainer: NewTrainer, rates: Rates, seed: int) -> dict[str, Outcome]:
        """Train the profiles of all users, group by group. A group that is finished is not trained again.

        Args:
            new_trainer: makes the trainer of a group.
            rates: peak learning rates.
            seed: the same for all users, so that a result does not depend on the other users.
        """
        outcomes: dict[str, Outcome] = {}
        for folder, names in self.groups.items():
            profiles = [self._profile(name, folder / str(i), rates, seed) for i, name in enumerate(names)]
            try:
                trained = new_trainer(profiles, folder).run()
            except DivergedError as error:
                # raised by a preliminary phase; a method with phases trains one user at a time
                trained = [Outcome(Progress(), {}, {}, {}, str(error))]
            outcomes |= zip(names, trained, strict=True)
            _log.info("%d users are trained; the last one is %s", len(outcomes), names[-1])
        return outcomes

    def _profile(self, name: str, folder: Path, rates: Rates, seed: int) -> Profile:
        folder.mkdir(parents=True, exist_ok=True)
        validation = {split: rows.user_rows(name) for split, rows in self.validation.items()}
        return Profile(self.train.user_rows(name), validation, rates, seed, folder)

    def outputs(self, outcomes: Mapping[str, Outcome], selection: str) -> Outputs:
        """Return the head's outputs for all rows, each row with the profile of its user.

        The outputs are zero for a user whose training diverged before the first evaluation.

        Args:
            outcomes: by user, from `train_profiles`.
            selection: ``best`` or ``last``.

        Returns:
            by split, (rows, outputs).
        """
        outputs = {}
        for split, rows in self.validation.items():
            outputs[split] = np.zeros((len(rows), self.task.num_outputs), np.float32)
            for name, outcome in outcomes.items():
                if selection in outcome.outputs:
                    outputs[split][rows.users == name] = outcome.outputs[selection][split]
        return outputs

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return the task's metrics over the rows of all users."""
        return evaluate_splits(self.task, dict(self.validation), outputs)

    def store(
        self, path: Path, selection: str, provenance: Mapping[str, str], method: Mapping[str, Any]
    ) -> None:
        """Write the profiles of all users into one profile store.

        A method that selects its parameters for each user may have profiles of different shapes, which one
        store cannot hold. Then no store is written.

        Args:
            path: of the store; an existing one is replaced.
            selection: ``best`` or ``last``.
            provenance: as for `ProfileStore.create`.
            method: as for `ProfileStore.create`.
        """
        path.unlink(missing_ok=True)
        states = {name: load_file(file) for name, file in self._files(selection) if file.is_file()}
        # the store is one table of equal rows
        shapes = {tuple(sorted((key, value.shape) for key, value in s.items())) for s in states.values()}
        if len(shapes) != 1:
            _log.warning("%s is not written: the users' profiles have different shapes", path)
            return
        example = next(iter(states.values()))
        stacked = {key: torch.stack([state[key] for state in states.values()]) for key in example}
        with ProfileStore.create(path, example, provenance=provenance, method=method) as store:
            store.append(list(states), stacked)

    def _files(self, selection: str) -> Iterator[tuple[str, Path]]:
        for folder, names in self.groups.items():
            for number, name in enumerate(names):
                yield name, folder / str(number) / f"{selection}.safetensors"


def mean_history(outcomes: Sequence[Outcome]) -> list[dict[str, float]]:
    """Return one entry per evaluation: the mean over the users whose training did not diverge."""
    # the histories of users who diverged are shorter, and would cut off those of the others
    histories = [outcome.progress.history for outcome in outcomes if outcome.error is None]
    return [
        {key: float(np.mean([entry[key] for entry in entries])) for key in entries[0]}
        for entries in zip(*histories, strict=False)
    ]


def mean_speed(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the training time of all groups, and the mean of each rate over that time."""
    # The users of a group share one speed object, which must count once. A user whose training diverged
    # in a phase has none.
    speeds = list({id(outcome.speed): outcome.speed for outcome in outcomes if outcome.speed}.values())
    seconds = [speed["train_seconds"] for speed in speeds]
    rates = {key: float(np.average([s[key] for s in speeds], weights=seconds)) for key in speeds[0]}
    return rates | {"train_seconds": sum(seconds)}
