"""The progress of a run or a measurement, as log records.

A record has a `Status` in its attribute ``status``, which a terminal shows as a bar. Updates have the level
DEBUG. The end of an epoch has the level INFO, so a log without a terminal has one line for it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_UPDATES = 0.5


@dataclass(frozen=True)
class Status:
    """How far a run or a measurement is.

    Args:
        name: of the run or the measurement.
        done: finished steps or parts.
        total: their number; None if it is not known yet.
        text: what else there is to show.
    """

    name: str
    done: int = 0
    total: int | None = None
    text: str = ""


def report(status: Status, level: int = logging.DEBUG) -> None:
    """Log a status.

    Args:
        status: the status.
        level: INFO for what a log without a terminal should show.
    """
    _log.log(level, "%s: %s", status.name, status.text, extra={"status": status})


def enable_updates() -> None:
    """Log the updates, too: a terminal shows them."""
    _log.setLevel(logging.DEBUG)


class Pacer:
    """Limits the updates to two a second, and to none if nothing shows them."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Return whether an update is due now."""
        now = time.monotonic()
        if now < self._next or not _log.isEnabledFor(logging.DEBUG):
            return False
        self._next = now + _SECONDS_BETWEEN_UPDATES
        return True


def duration(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds, such as ``1:02:03`` or ``0:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
