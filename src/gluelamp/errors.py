"""The exception for bad input, and its "did you mean" sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Bad input from the user: a configuration, a file, a name.

    The message is one or more full sentences: what was wrong, what is allowed, what to do. The command
    line prints it without a traceback and exits with code 2.
    """


class UnsupportedError(InputError):
    """A method does not support an architecture, or passes of several profiles, with any of its options."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for a name that does not exist, with the nearest known name.

    Args:
        kind: what the name refers to, such as ``"task"``.
        name: the name that was given.
        known: the names that exist.
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return InputError(f"{kind} {name!r} is unknown{hint} Known: {', '.join(known) or 'none'}.")
