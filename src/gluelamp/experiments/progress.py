"""The progress bar of a long command: on stderr, and only if that is a terminal."""

from __future__ import annotations

from functools import lru_cache

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn


@lru_cache(maxsize=1)
def _console() -> Console:
    return Console(stderr=True)


def progress_bar() -> Progress:
    """Return a bar that is not started. A second bar is shown below a running one."""
    return Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_console(),  # bars that share a console are shown below each other
        disable=not _console().is_terminal,
    )
