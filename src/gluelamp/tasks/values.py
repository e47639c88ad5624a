"""One rule for each type of value that a file holds: texts, identifiers, whole numbers, missing values."""

from __future__ import annotations

import re
from decimal import Decimal
from math import isnan

_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.\d*")
_WHOLE_DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.0*")
_LARGEST_EXACT = 2**53  # up to here a float64 holds every whole number


def bad_character(text: str) -> str | None:
    """Return the name of a character that texts must not contain; None if there is none.

    JSON can escape half of a UTF-16 pair, which no tokenizer and no Parquet file accepts. Tokenizers remove
    NUL without a message, and it ends texts in C.
    """
    if "\0" in text:
        return "a NUL character (U+0000)"
    if not text.isascii() and (found := _SURROGATE.search(text)):
        return f"an unpaired surrogate (U+{ord(found[0]):04X})"
    return None


def is_missing(value: object) -> bool:
    """Return whether a value is null or NaN."""
    return value is None or (isinstance(value, float) and isnan(value))


def whole_number(value: object) -> int | None:
    """Return a whole number of 64 bits exactly; None if the value is none.

    Args:
        value: 3, 3.0, "3" and "3.0" are 3. A float above 2**53 may have been rounded and is refused.
    """
    number: int | None = None
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value.strip())
        number = int(match[1]) if match and len(match[1]) <= 20 else None
    elif isinstance(value, bool):
        return None
    elif isinstance(value, int):
        number = value
    elif isinstance(value, Decimal):
        number = int(value) if value.is_finite() and value == value.to_integral_value() else None
    elif isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        number = int(value)
    return number if number is not None and -(2**63) <= number < 2**63 else None


def identifier(value: object) -> str | None:
    """Return the one spelling of a user or a record; None if the value identifies nothing exactly.

    Args:
        value: 1, 1.0, "1" and "1.0" are one identifier. Every other text is itself without the spaces around
            it: "01" is not "1", and "1.10" is not "1.1". A float above 2**53 may have been rounded.
    """
    if isinstance(value, float) and not (value.is_integer() and abs(value) <= _LARGEST_EXACT):
        return None
    is_number = not isinstance(value, str) or _WHOLE_DECIMAL.fullmatch(value.strip())
    return label_name(value) if is_number else _stripped(str(value))


def label_name(value: object) -> str | None:
    """Return the one spelling of a label; None if the value is none.

    Args:
        value: equal numbers are one label: 5, 5.0, "5" and "5.0", or 4.5 and "4.50".
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if is_missing(value) or not isinstance(value, str | int | float | Decimal):
        return None
    text = _stripped(str(value))
    return text.rstrip("0").rstrip(".") if text and _DECIMAL.fullmatch(text) else text


def not_a_name(place: str, value: object) -> str:
    """Return a sentence on a value that is no identifier and no label."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return f"{place} is empty."
    return (
        f"{place} is {value!r}. Allowed are texts without NUL and surrogates, and whole numbers; a user may "
        "be a float only up to 2**53, because larger ones are rounded."
    )


def _stripped(text: str) -> str | None:
    return None if bad_character(text) else text.strip() or None
