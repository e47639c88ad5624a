"""Damaged files: what hypothesis does to the bytes or the values of a valid file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from gluelamp.errors import InputError

_T = TypeVar("_T")

# lengths and offsets that readers may trust
_LENGTHS = tuple(
    number.to_bytes(size, order)
    for size in (2, 4, 8)
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("little", "big")
)
_MARKS = (
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\r",
    b"\n",
    b'"',
    b"'",
    b"\t",
    b",",
    b"{",
    b"[",
    b"NaN",
    b"1e999",
)
_BYTES = st.sampled_from(_LENGTHS + _MARKS) | st.binary(min_size=1, max_size=8)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["", "../../escaped", "/escaped", "a\x00b", "\ud800", "1.0", "1e999", 2**63, -(2**64), 10**400]
    )
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
"""What a value of a file or of a configuration is replaced by."""


@st.composite
def damaged(draw: st.DrawFn, *contents: bytes) -> bytes:
    """The bytes of a valid file with up to four edits: flipped, inserted, overwritten, removed, cut."""
    content = bytearray(draw(st.sampled_from(contents)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        edit = draw(st.sampled_from(["flip", "insert", "overwrite", "remove", "repeat", "cut"]))
        if edit == "flip" and start < len(content):
            content[start] ^= 1 << draw(st.integers(0, 7))
        elif edit == "insert":
            content[start:start] = draw(_BYTES)
        elif edit == "overwrite":
            new = draw(_BYTES)
            content[start : start + len(new)] = new
        elif edit == "remove":
            del content[start : start + draw(st.integers(1, 64))]
        elif edit == "repeat":
            content[start:start] = content[start : start + draw(st.integers(1, 64))]
        elif edit == "cut":
            del content[start:]
    return bytes(content)


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """Nested containers in which up to three values are replaced, or keys are removed or added."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        edit = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if edit == "replace":
            container[key] = draw(VALUES)
        elif edit == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[draw(st.text(max_size=6))] = draw(VALUES)
        else:
            container.append(draw(VALUES))
    return content


def _places(content: Any) -> Any:
    keys = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])


def value_or_refusal(read: Callable[[], _T]) -> _T | None:
    """Return what a reader returns, or None if it refuses its file with a sentence.

    Any other exception fails the test.
    """
    try:
        return read()
    except InputError as error:
        if not str(error).endswith((".", "?")):
            raise AssertionError(f"not a sentence: {error}") from error
        return None
