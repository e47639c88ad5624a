"""Versioned JSON files that are checked when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from gluelamp.errors import InputError
from gluelamp.io import user_path

# no separator of paths, and no dot at the beginning: it must be one folder, and not a hidden one
Name = Annotated[str, Field(pattern=r"^\w[\w.+, -]*$")]
"""The name of a backbone, a method or a task. It is also the name of a folder of results."""

PathOption = Annotated[
    str, AfterValidator(lambda place: str(user_path(place)) if place.startswith("~") else place)
]
"""An option that is a path, with the home folder in place of ``~``."""

_Layout = TypeVar("_Layout")


def check_version(path: Path, content: Any, versions: Sequence[int]) -> int:
    """Return the schema version of a file's content.

    Args:
        path: the file, for the message.
        content: of the file.
        versions: the versions that can be read.

    Raises:
        InputError: if the content has another version, or none.
    """
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version in versions:
        return version
    readable = " and ".join(map(str, versions))
    raise InputError(f"{path}: key 'schema_version' is {version!r}; this release reads {readable}.")


def validate(path: Path, content: Any, layout: type[_Layout]) -> _Layout:
    """Return the content of a file as an instance of its layout.

    Args:
        path: the file, for the message.
        content: of the file.
        layout: a pydantic model or dataclass.

    Raises:
        InputError: naming the file, the first key that is wrong, and what is wrong.
    """
    try:
        adapter: TypeAdapter[_Layout] = _adapter(layout)  # type: ignore[arg-type]  # a class is hashable
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # pydantic appends the types of a union to the place of the value
        key = ".".join(str(part) for part in first["loc"] if part not in ("int", "float"))
        if first["type"].startswith("missing"):
            raise InputError(f"{path}: key {key!r} is missing.") from error
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            raise InputError(f"{path}: key {key!r} does not belong to this schema.") from error
        # from a validator of the layout, whose own message names the key
        if first["type"] == "value_error":
            raise InputError(f"{path}: {first['ctx']['error']}.") from error
        raise InputError(f"{path}: key {key!r} is {first['input']!r}. {first['msg']}.") from error


@cache  # making an adapter takes longer than reading a record
def _adapter(layout: Any) -> TypeAdapter[Any]:
    return TypeAdapter(layout)
