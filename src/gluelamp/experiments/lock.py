"""One process at a time for one result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gluelamp.errors import InputError


@contextmanager
def locked(path: Path, activity: str) -> Iterator[None]:
    """Hold the lock of a result.

    Args:
        path: the lock's file, which stays; its folder is made.
        activity: what is done meanwhile, for the message, such as ``"results/x is being measured"``.

    Raises:
        InputError: if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{activity} by another process; wait for it.") from error
    try:
        yield
    finally:
        lock.release()
