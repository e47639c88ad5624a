"""The progress of a run: a tracker of its trainers, its phases and its users, which reports each `Status`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gluelamp.experiments.status import Pacer, Status, duration, report
from gluelamp.tasks.mixture import Mixture
from gluelamp.tasks.task import Task
from gluelamp.training.phase_runner import PhaseTracker
from gluelamp.training.profile_state import ProfileState
from gluelamp.training.trainer import Trainer


def score_text(task: Task | Mixture, value: float | None) -> str:
    """Return a score as tables print it: times 100, unless the metric is an error such as MAE."""
    if value is None:
        return "undefined"
    return f"{value:.3f}" if task.lower_is_better else f"{100 * value:.2f}"


@dataclass
class _Part:
    """A preliminary phase of a run, or the training of the method.

    Args:
        name: of a phase; empty for the training of the method.
        users: how many users have a finished profile, are trained now, and exist; None for one profile.
        start: the time and the finished fraction when the first step was seen.
    """

    name: str = ""
    users: tuple[int, int, int] | None = None
    start: tuple[float, float] | None = None

    def fraction(self, done: int, total: int) -> float:
        """Return the finished fraction of the part, after some steps of the present trainer."""
        finished, group, users = self.users or (0, 1, 1)
        return (finished + group * done / total) / users

    def texts(self) -> list[str]:
        users = [f"{self.users[0]:,} of {self.users[2]:,} users"] if self.users else []
        return [*users, *([self.name] if self.name else [])]

    def time_left(self, fraction: float) -> list[str]:
        if self.start is None or fraction <= self.start[1]:
            return []
        passed = time.monotonic() - self.start[0]
        return [f"{duration(passed * (1 - fraction) / (fraction - self.start[1]))} left"]


class RunProgress(PhaseTracker):
    """Reports the progress of one run; a `gluelamp.training.trainer.Tracker`, too.

    Args:
        name: of the run.
        task: the declaration.
    """

    def __init__(self, name: str, task: Task | Mixture) -> None:
        self.name, self.task = name, task
        self._part, self._pacer = _Part(), Pacer()
        self._score: list[str] = []
        self._trainer: Trainer | None = None
        self._start = (0.0, 0.0)  # the time at the first step of the trainer, and the rows trained before
        self._report(["reading rows and weights"])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Name a phase while it runs."""
        outer, self._part = self._part, _Part(name)
        # the phases of each single user would be too many lines
        self._report([f"{name} begins"], level=logging.DEBUG if outer.users else logging.INFO)
        try:
            yield
        finally:
            self._part, self._score = outer, []

    def users(self, finished: int, group: int, total: int) -> None:
        """Report whose profiles are trained next.

        Args:
            finished: number of users whose profiles are trained.
            group: number of users that are trained together next.
            total: number of all users.
        """
        part, before = self._part, self._part.users
        part.users, part.start = (finished, group, total), part.start or (time.monotonic(), 0.0)
        is_tenth = before is None or 10 * finished // total > 10 * before[0] // total
        facts = [*part.texts(), *part.time_left(finished / total)]
        self._report(facts, finished, total, logging.INFO if is_tenth else logging.DEBUG)

    def count(self, done: int, total: int) -> None:
        """Report the examples that a phase has scored."""
        if self._pacer.is_due():
            self._report([*self._part.texts(), f"{done:,} of {total:,} examples"], done, total)

    def step(self, trainer: Trainer) -> None:
        """Report an optimiser step, at most twice a second."""
        if trainer is not self._trainer:
            now, (done, total) = time.monotonic(), _steps(trainer.states)
            self._trainer, self._start = trainer, (now, _rows(trainer.states))
            self._part.start = self._part.start or (now, self._part.fraction(done, total))
        if self._pacer.is_due():
            done, total = _steps(trainer.states)
            epoch = min(trainer.config.epochs * done // total + 1, trainer.config.epochs)
            self._report_training(trainer, epoch, trainer.states[0].recent_loss())

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Report an evaluation, but not that of one user of many."""
        if self._trainer is not None and self._part.users is None:
            metric = self.task.main_metric
            self._score = [f"{metric} {score_text(self.task, values[metric])}"]
            self._report_training(self._trainer, values["epoch"], values["train_loss"], logging.INFO)

    def _report_training(
        self, trainer: Trainer, epoch: float, loss: float, level: int = logging.DEBUG
    ) -> None:
        done, total = _steps(trainer.states)
        start, rows = self._start
        rate = (_rows(trainer.states) - rows) / max(time.monotonic() - start, 1e-9)
        facts = [
            *self._part.texts(),
            f"epoch {epoch:.4g}/{trainer.config.epochs}",
            f"step {done:,}/{total:,}",
            f"loss {loss:.3f}",
            *self._score,
            f"{rate:,.0f} examples/s",
            *self._part.time_left(self._part.fraction(done, total)),
        ]
        self._report(facts, done, total, level)

    def _report(
        self, facts: Sequence[str], done: int = 0, total: int | None = None, level: int = logging.DEBUG
    ) -> None:
        report(Status(self.name, done, total, ", ".join(facts)), level)


def _steps(states: Sequence[ProfileState]) -> tuple[int, int]:
    """Return the finished steps of all profiles, and their number."""
    done = sum(state.progress.step for state in states)
    return done, sum(state.config.epochs * state.steps_per_epoch for state in states)


def _rows(states: Sequence[ProfileState]) -> float:
    """Return how many rows the profiles were trained on so far."""
    return sum(state.progress.step / state.steps_per_epoch * len(state.profile.train) for state in states)
