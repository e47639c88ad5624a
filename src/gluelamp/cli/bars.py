"""The bars of a terminal: one for the sweep, and below it one for each run in training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

_BAR_WIDTH = 20
_MAX_BARS = 9  # of a sweep and eight runs


class _Caption(ProgressColumn):
    """The text of a bar, computed at each refresh: a remaining time changes without an update."""

    def render(self, task: Task) -> Text:
        caption: Callable[[], str] = task.fields["caption"]
        return Text(caption())


class Bars(Progress):
    """Bars with captions, which are removed in the end.

    Args:
        console: of the terminal.
    """

    def __init__(self, console: Console) -> None:
        # Some columns stay free: the ^C that a terminal prints must not begin a new line.
        width = console.width - _BAR_WIDTH - 5
        super().__init__(
            BarColumn(bar_width=_BAR_WIDTH),
            _Caption(table_column=Column(max_width=width, overflow="fold")),
            console=console,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # lines for a file must not go to the terminal
        )
        self._ids: dict[Hashable, TaskID] = {}

    def show(self, key: Hashable, caption: Callable[[], str], done: int, total: int | None) -> None:
        """Add or update a bar. Of many workers, not every run has one.

        Args:
            key: names the bar.
            caption: returns its text.
            done: finished steps.
            total: their number; None if it is not known yet.
        """
        if key not in self._ids:
            if len(self._ids) == _MAX_BARS:
                return
            self._ids[key] = self.add_task("", caption=caption)
        self.update(self._ids[key], completed=done, total=total, caption=caption)
        self.start()

    def remove(self, key: Hashable) -> None:
        """Remove a bar, if it is there."""
        if key in self._ids:
            self.remove_task(self._ids.pop(key))
