"""Text and JSON files that are whole or not there, and the versioned layouts that are read from them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import uuid4

from pydantic import Field, TypeAdapter, ValidationError

from gluelamp.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA_VERSION = 1

Name = Annotated[str, Field(pattern=r"^\w[\w.+, -]*$")]
"""Of a backbone, a method or a task: it is also the name of a folder of results."""

_Layout = TypeVar("_Layout", bound="DataclassInstance")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old content or the new one, never a part.

    Args:
        path: the file; its folder is made where it is missing.
        text: the whole content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, mapping: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, whole or not at all; keys keep their order.

    Args:
        path: the file.
        mapping: JSON types only; NaN and infinities become null, for which JSON has no numbers.
    """
    content = json.dumps(_finite(mapping), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, content + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: if it is not JSON in UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}. Remove it and run again.") from error


def read_layout(path: Path, layout: type[_Layout]) -> _Layout:
    """Read a JSON file whose keys are the fields of a dataclass.

    Args:
        path: the file.
        layout: the dataclass; fields with a default may be missing.

    Raises:
        InputError: if the file is not JSON of this schema, or a field is of another type; the message names
            file and key.
    """
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: key 'schema_version' is {version!r}; this release reads {SCHEMA_VERSION}.")
    for field in fields(layout):
        if field.default is MISSING:
            require(path, content, field.name)
    surplus = sorted(set(content) - {field.name for field in fields(layout)})
    if surplus:
        raise InputError(f"{path}: key {surplus[0]!r} does not belong to schema {version}.")
    return _typed(path, content, layout)


def require(path: Path, content: Mapping[str, Any], dotted: str, kind: Any = Any) -> None:
    """Refuse a file's content that lacks a key, or has something else there.

    Args:
        path: the file, for the message.
        content: nested mappings.
        dotted: the key, such as ``"config.seed"``.
        kind: the type of its value.

    Raises:
        InputError: if it is missing, or of another type.
    """
    here: Any = content
    for key in dotted.split("."):
        if not isinstance(here, Mapping) or key not in here:
            raise InputError(f"{path}: key {dotted!r} is missing.")
        here = here[key]
    _typed(path, here, kind, [dotted], strict=True)


def _typed(path: Path, value: object, kind: Any, place: Sequence[str] = (), strict: bool = False) -> Any:
    try:
        return _adapter(kind).validate_python(value, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key, found = ".".join(map(str, [*place, *first["loc"]])), repr(first["input"])
        raise InputError(f"{path}: key {key!r} is {found}. {first['msg']}.") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
