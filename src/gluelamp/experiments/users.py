"""One adaptation for each person of a task: their training, and what it comes to as one run."""

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
"""Makes the trainer of some profiles, on a model of its own; the folder takes its checkpoint."""


@dataclass(frozen=True)
class Persons:
    """The persons of a task, each with rows of its own.

    Args:
        task: the declaration.
        train: the training rows of all.
        validation: the validation splits of all.
        together: how many train in one pass.
        folder: takes what a resumed run needs: a folder for each group, and one in it for each person.
    """

    task: Task
    train: EncodedSplit
    validation: Mapping[str, EncodedSplit]
    together: int
    folder: Path

    @property
    def groups(self) -> dict[Path, list[str]]:
        """The names of those who train in one pass, by the folder of their group."""
        names = sorted(set(() if self.train.users is None else self.train.users))
        starts = range(0, len(names), self.together)
        return {self.folder / f"group-{start}": names[start : start + self.together] for start in starts}

    def train_each(self, new_trainer: NewTrainer, rates: Rates, seed: int) -> dict[str, Outcome]:
        """Train all persons, group by group; a group that was done before is not trained again.

        Args:
            new_trainer: for each group.
            rates: peak learning rates.
            seed: one for all, so that a result does not depend on who else is there.
        """
        outcomes: dict[str, Outcome] = {}
        for place, names in self.groups.items():
            profiles = [self._profile(name, place / str(i), rates, seed) for i, name in enumerate(names)]
            outcomes |= zip(names, _trained(new_trainer, profiles, place), strict=True)
            _log.info("%d persons are trained, the last of them %s", len(outcomes), names[-1])
        return outcomes

    def _profile(self, name: str, folder: Path, rates: Rates, seed: int) -> Profile:
        folder.mkdir(parents=True, exist_ok=True)
        validation = {split: rows.user_rows(name) for split, rows in self.validation.items()}
        return Profile(self.train.user_rows(name), validation, rates, seed, folder)

    def outputs(self, outcomes: Mapping[str, Outcome], selection: str) -> Outputs:
        """Return the head's outputs for all rows, each under its own person's values.

        Zeros stand where a person's training ended before its first evaluation.

        Args:
            outcomes: by name, from `train_each`.
            selection: ``best`` or ``last``.
        """
        found = {}
        for split, rows in self.validation.items():
            found[split] = np.zeros((len(rows), self.task.num_outputs), np.float32)
            for name, outcome in outcomes.items():
                if selection in outcome.outputs:
                    found[split][rows.users == name] = outcome.outputs[selection][split]
        return found

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return the task's metrics over the rows of all persons."""
        return evaluate_splits(self.task, dict(self.validation), outputs)

    def store(
        self, path: Path, selection: str, bound_to: Mapping[str, str], method: Mapping[str, Any]
    ) -> None:
        """Write the task states of all persons into one profile store.

        States of different shapes, of a method that chooses anew for each person, do not fit into one:
        then there is none.

        Args:
            path: of the store; one that is there is replaced.
            selection: ``best`` or ``last``.
            bound_to: as for `ProfileStore.create`.
            method: as for `ProfileStore.create`.
        """
        path.unlink(missing_ok=True)
        states = {name: load_file(file) for name, file in self._files(selection) if file.is_file()}
        shapes = {tuple(sorted((key, value.shape) for key, value in s.items())) for s in states.values()}
        if len(shapes) != 1:
            _log.warning("%s is not written: the persons' task states have different shapes", path)
            return
        example = next(iter(states.values()))
        stacked = {key: torch.stack([state[key] for state in states.values()]) for key in example}
        with ProfileStore.create(path, example, provenance=bound_to, method=method) as store:
            store.append(list(states), stacked)

    def _files(self, selection: str) -> Iterator[tuple[str, Path]]:
        for place, names in self.groups.items():
            for number, name in enumerate(names):
                yield name, place / str(number) / f"{selection}.safetensors"


def _trained(new_trainer: NewTrainer, profiles: Sequence[Profile], place: Path) -> list[Outcome]:
    try:
        trainer = new_trainer(profiles, place)
    except DivergedError as error:  # in a phase, and who learns in phases trains alone
        return [Outcome(Progress(), {}, {}, {}, str(error))]
    return trainer.run()


def mean_history(outcomes: Sequence[Outcome]) -> list[dict[str, float]]:
    """Return one entry for each evaluation: means over the persons whose training did not end before.

    Args:
        outcomes: of all persons.
    """
    histories = [outcome.progress.history for outcome in outcomes if outcome.error is None]
    return [
        {key: float(np.mean([entry[key] for entry in entries])) for key in entries[0]}
        for entries in zip(*histories, strict=False)
    ]


def mean_speed(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the time of all groups, and their rates over that time.

    Args:
        outcomes: of all persons; those of one group have one and the same speed, and who diverged in
            a phase has none.
    """
    speeds = list({id(outcome.speed): outcome.speed for outcome in outcomes if outcome.speed}.values())
    seconds = [speed["train_seconds"] for speed in speeds]
    rates = {key: float(np.average([s[key] for s in speeds], weights=seconds)) for key in speeds[0]}
    return rates | {"train_seconds": sum(seconds)}
