"""Several methods on one task within a budget of time: which runs fit, their training, and the choice."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from gluelamp.experiments.config import RunConfig
from gluelamp.experiments.plan import plan_run
from gluelamp.experiments.run import execute
from gluelamp.records import FoundRun
from gluelamp.records.files import Name
from gluelamp.training.trainer import DivergedError

_log = logging.getLogger(__name__)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ChooseConfig:
    """Options of the choice of a method.

    Args:
        methods: the names of their configs, in the order in which they are tried.
        seeds: at most so many runs of each method, with the seeds 0, 1 and so on.
        budget_minutes: no run is started that would probably end later.
    """

    methods: tuple[Name, ...] = Field(min_length=2)
    seeds: int = Field(default=3, ge=1)
    budget_minutes: float = Field(default=30, gt=0)


@dataclass
class Trials:
    """The runs of a choice.

    Args:
        runs: the complete ones, with their folders.
        left_out: the methods that the budget did not allow.
        seconds: the duration of one run of each method.
    """

    runs: list[FoundRun] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def enough(self) -> str:
        """A sentence on the budget that is enough for one run of every method."""
        if not self.seconds:
            return ""
        mean = fmean(self.seconds.values())
        minutes = math.ceil(mean * (len(self.seconds) + len(self.left_out)) / 60)
        return (
            f"choose.budget_minutes={minutes} is about enough for one run of each; fewer trainer.epochs or "
            "task.max_train_examples make runs shorter."
        )


def train_within(
    rounds: Sequence[Mapping[str, RunConfig]], budget: float, clock: Callable[[], float] = time.monotonic
) -> Trials:
    """Train every method with the first seed, then with the second, as long as the budget allows.

    Complete runs are not trained again. A further seed is tried for all methods or for none, so that all
    have the same seeds. The first two methods are trained whatever the budget.

    Args:
        rounds: for each seed the configurations by method.
        budget: in seconds.
        clock: the time in seconds.
    """
    trials, end = Trials(), clock() + budget
    for number, configs in enumerate(rounds):
        # Methods that the budget did not allow, or whose first training diverged, have no duration.
        remaining = {name: config for name, config in configs.items() if not number or name in trials.seconds}
        if number and not _fits(trials, remaining, number, end - clock()):
            break
        for name, config in remaining.items():
            is_late = len(trials.seconds) > 1 and clock() + fmean(trials.seconds.values()) > end
            if number == 0 and is_late and not _is_complete(config):
                trials.left_out.append(name)
                continue
            _train(trials, name, config, clock)
            if number == 0 and list(trials.seconds) == [name]:
                _log.info("%s", _first_plan(trials.seconds[name], len(configs), len(rounds), budget))
    return trials


def _train(trials: Trials, name: str, config: RunConfig, clock: Callable[[], float]) -> None:
    start = clock()
    try:
        record = execute(config)
    except DivergedError as error:
        _log.warning("a run of %s is left out: %s", name, error)
        return
    trials.runs.append((plan_run(config).folder, record))
    # A run that was complete before took no time now; its record has the seconds of its training.
    trials.seconds[name] = max(clock() - start, record.speed.get("train_seconds") or 0)


def _fits(trials: Trials, configs: Mapping[str, RunConfig], number: int, left: float) -> bool:
    needed = sum(trials.seconds[name] for name, config in configs.items() if not _is_complete(config))
    fits = needed <= left
    _log.info(
        "seeds done: %d; a further one takes about %s of the %s that are left%s",
        *(number, _duration(needed), _duration(max(left, 0)), "" if fits else ", and is left out"),
    )
    return fits


def _is_complete(config: RunConfig) -> bool:
    return (plan_run(config).folder / "record.json").is_file()


def _first_plan(seconds: float, methods: int, seeds: int, budget: float) -> str:
    """Return a sentence on the runs that fit, from the duration of the first one."""
    fits = max(int(budget / seconds), 1)
    needed = _duration(seconds * methods * seeds)
    plan = (
        "all of them fit"
        if fits >= methods * seeds
        else f"{fits // methods} of {seeds} seeds of all methods fit"
        if fits >= methods
        else f"about {fits} of {methods} methods fit, with one seed"
    )
    return (
        f"the first run took {_duration(seconds)}: {methods} methods with {seeds} seeds would take about "
        f"{needed}; in the budget of {_duration(budget)} {plan}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
