"""The progress bar of a long command: on stderr, and off where that is no terminal."""

from __future__ import annotations

from functools import lru_cache

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn


@lru_cache(maxsize=1)
def _console() -> Console:
    return Console(stderr=True)


def progress_bar() -> Progress:
    """Return a bar that is not started; one that starts while another runs stands below it."""
    return Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_console(),  # one for all bars: they know of each other through it
        disable=not _console().is_terminal,
    )
