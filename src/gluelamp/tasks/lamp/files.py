"""Stream LaMP's JSON files, the largest of which has 3.4 GB: what stays is up to the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from gluelamp.errors import InputError


def stream(path: Path, prefix: str, opening: bytes) -> Iterator[dict[str, Any]]:
    """Return the objects of one list in a JSON file, one by one.

    Args:
        path: the file.
        prefix: where the list's items stand, as ijson names it: ``"item"`` or ``"golds.item"``.
        opening: the file's first byte, ``b"["`` or ``b"{"``.

    Raises:
        InputError: if the file is no such JSON, HTML instead of JSON for example, or ends too early.
    """
    with _opened(path, opening) as file:
        for number, item in enumerate(ijson.items(file, prefix, use_float=True), start=1):
            if not isinstance(item, dict) or "id" not in item:
                raise InputError(f"{path}, record {number} is not a JSON object with the key 'id'.")
            yield item


def read_golds(path: Path) -> dict[str, str]:
    """Return the gold outputs of an ``outputs`` file by record id; ids are strings with leading zeros.

    Raises:
        InputError: if the file is not ``{"task": ..., "golds": [{"id": ..., "output": ...}, ...]}``.
    """
    golds: dict[str, str] = {}
    for item in stream(path, "golds.item", b"{"):
        name = str(item["id"])
        if "output" not in item:
            raise InputError(f"{path}: the record with id {name!r} has no key 'output'.")
        if name in golds:
            raise InputError(f"{path}: id {name!r} is there twice.")
        golds[name] = str(item["output"]).strip()
    if not golds:
        raise InputError(f"{path} holds no golds; expected is a list of ids and outputs under 'golds'.")
    return golds


@contextmanager
def _opened(path: Path, opening: bytes) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            first = file.read(64).lstrip()[:1]
            if first != opening:
                kind = "is empty" if not first else f"begins with {first.decode(errors='replace')!r}"
                page = "; it is a web page, not data: download it again" if first == b"<" else ""
                raise InputError(
                    f"{path} {kind}; expected is JSON that begins with {opening.decode()!r}{page}."
                )
            file.seek(0)
            yield file
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is truncated or not JSON: {' '.join(str(error).split())}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
