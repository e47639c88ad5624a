"""What a command shows: lines on standard output and, on a terminal, bars below them.

All of it comes as log records: lines from any module, and progress from `gluelamp.experiments.status`.
Hydra's ``job_logging`` has one handler for both, `TerminalHandler`.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING

from gluelamp.experiments.status import Status, duration

if TYPE_CHECKING:
    from gluelamp.cli.bars import Bars

_log = logging.getLogger(__name__)


@dataclass
class Sweep:
    """The progress of a sweep.

    Args:
        runs: their number.
        workers: number of runs that are trained at the same time.
    """

    runs: int
    workers: int = 1
    ended: int = 0
    _starts: dict[int, float] = field(default_factory=dict)
    _trained: set[int] = field(default_factory=set)
    _seconds: list[float] = field(default_factory=list)

    def start(self, process: int) -> None:
        """Note that a process begins a run."""
        self._starts[process] = time.monotonic()

    def train(self, process: int) -> None:
        """Note that the run of a process is trained: a complete one is skipped, and has no such note."""
        self._trained.add(process)

    def end(self, process: int) -> bool:
        """Note the end of the run of a process, and return whether it was trained."""
        self.ended += 1
        seconds, was_trained = time.monotonic() - self._starts.pop(process), process in self._trained
        self._trained.discard(process)
        if was_trained:
            self._seconds.append(seconds)
        return was_trained

    def text(self) -> str:
        """Return how many runs have ended and, after the first one that was trained, the time left."""
        counted, waiting = f"{self.ended:,} of {self.runs:,} runs", self.runs - self.ended
        if not self._seconds or not waiting:
            return counted
        now, mean = time.monotonic(), fmean(self._seconds)
        passed = sum(min(now - start, mean) for start in self._starts.values())
        left = (mean * waiting - passed) / min(self.workers, waiting)
        return f"{counted}, about {duration(left)} left" if left >= 1 else counted


class Screen:
    """The lines and bars of this process.

    Args:
        bars: of the terminal; None without a terminal.
    """

    def __init__(self, bars: Bars | None = None) -> None:
        self.bars = bars
        self._sweep: Sweep | None = None
        self._notices: set[str] = set()

    def start_sweep(self, runs: int, workers: int) -> None:
        """Show the bar of a sweep, above those of its runs.

        Args:
            runs: their number.
            workers: number of runs that are trained at the same time.
        """
        self._sweep = Sweep(runs, workers)
        _log.info("%s; the time left is known after the first one", f"{runs:,} runs")
        if self.bars:
            self.bars.show("sweep", self._sweep.text, 0, runs)

    def start_run(self, process: int) -> None:
        """Take note that a process begins a run.

        Args:
            process: its id.
        """
        if self._sweep:
            self._sweep.start(process)

    def show(self, process: int, status: Status) -> None:
        """Show the status of the run that a process trains.

        Args:
            process: its id.
            status: of the run.
        """
        if self._sweep:
            self._sweep.train(process)
        if self.bars:
            self.bars.show(process, lambda: f"{status.name}: {status.text}", status.done, status.total)

    def end_run(self, process: int) -> None:
        """Remove the bar of the run of a process, and count it in the sweep.

        Args:
            process: its id.
        """
        if self.bars:
            self.bars.remove(process)
        if self._sweep and self._sweep.end(process) and not self.bars:
            _log.info("%s", self._sweep.text())
        if self._sweep and self.bars:
            self.bars.show("sweep", self._sweep.text, self._sweep.ended, self._sweep.runs)

    def is_repeated(self, record: logging.LogRecord) -> bool:
        """Return whether a record is a warning or a fact about the data that was shown before."""
        if record.levelno < logging.WARNING and not record.name.startswith("gluelamp.tasks"):
            return False
        message = record.getMessage()
        is_repeated = message in self._notices
        self._notices.add(message)
        return is_repeated

    def close(self) -> None:
        """Remove all bars."""
        self._sweep = None
        if self.bars:
            self.bars.stop()


@cache
def screen() -> Screen:
    """Return the screen of this process, which has bars if standard error is a terminal."""
    if not sys.stderr.isatty():
        return Screen()
    from rich.console import Console

    from gluelamp.cli.bars import Bars

    console = Console(stderr=True)
    if not console.is_interactive:
        return Screen()
    shown = Screen(Bars(console))
    atexit.register(shown.close)  # also after an error or Ctrl-C, or the cursor would stay hidden
    return shown


class TerminalHandler(logging.Handler):
    """Shows log records on the screen of this process."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, the progress of a run, or its begin or end."""
        shown, process = screen(), record.process or 0
        if event := getattr(record, "event", None):
            shown.start_run(process) if event == "start" else shown.end_run(process)
            return
        status = getattr(record, "status", None)
        if status is not None:
            shown.show(process, status)
        if getattr(record, "is_error_output", False):
            sys.stderr.write(f"{record.getMessage()}\n")
        elif not (status is not None and shown.bars) and not shown.is_repeated(record):
            # the present sys.stdout: while bars are shown, rich replaces it to write above them
            sys.stdout.write(f"{self.format(record)}\n")
            sys.stdout.flush()
