"""The bytes of a profile store: its header, and one profile's tensors as a row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from struct import unpack
from typing import Any, BinaryIO

import pyarrow as pa
import torch
from torch import Tensor

from gluelamp.errors import InputError

VERSION = 1
DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "uint8": torch.uint8,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}
MARKER = 0xFFFFFFFF
"""Opens every message of an Arrow stream; the length of its metadata follows."""


@dataclass(frozen=True)
class Header:
    """What stands once in a store, before all profiles.

    Args:
        layout: a tensor on the meta device for each name, in the order of the bytes in a row: wide
            elements come first, so that each tensor is aligned.
        bound_to: from `gluelamp.methods.storage.provenance`.
        method: the method's name and fields.
    """

    layout: Mapping[str, Tensor]
    bound_to: Mapping[str, str]
    method: Mapping[str, Any]

    @classmethod
    def of(
        cls, examples: Mapping[str, Tensor], bound_to: Mapping[str, str], method: Mapping[str, Any]
    ) -> Header:
        """Return the header of a store for tensors such as ``examples``.

        Raises:
            InputError: if there are no values, or some of a type that a store does not hold.
        """
        if not any(value.numel() for value in examples.values()):
            raise InputError("The layout holds no values. Give the tensors of one profile's task state.")
        for name, value in examples.items():
            if value.dtype not in DTYPES.values():
                raise InputError(f"layout[{name!r}] is {value.dtype}; a store holds {', '.join(DTYPES)}.")
        wide_first = sorted(examples.items(), key=lambda item: -item[1].element_size())
        layout = {name: value.detach().to("meta") for name, value in wide_first}
        return cls(layout, dict(bound_to), dict(method))

    @classmethod
    def read(cls, path: Path, file: BinaryIO) -> tuple[Header, int]:
        """Return a file's header, and the offset of what follows.

        Raises:
            InputError: if the file is no store of this version, or its header is damaged.
        """
        start = file.read(8)
        marker, length = unpack("<Ii", start.ljust(8, b"\0"))
        if marker != MARKER or length <= 0:
            raise InputError(f"{path} is not a profile store. ProfileStore.create makes one.")
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(start + file.read(length)))
            header = cls._from_schema(schema, 8 + length)
        except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{path} is not a profile store of version {VERSION}, or its header is damaged ({error}). "
                "Without its header, no profile can be read: take the file from a copy."
            ) from error
        return header, 8 + length

    @classmethod
    def _from_schema(cls, schema: pa.Schema, size: int) -> Header:
        content = schema.metadata[b"store"]
        if int(schema.metadata[b"crc32"]) != zlib.crc32(content) or int(schema.metadata[b"bytes"]) != size:
            raise ValueError("its checksum or its length is wrong")
        fields = json.loads(content)
        if fields["version"] != VERSION:
            raise ValueError(f"its version is {fields['version']}")
        layout = {
            name: torch.empty(shape, dtype=DTYPES[dtype], device="meta")
            for name, (dtype, shape) in fields["layout"].items()
        }
        header = cls(layout, fields["bound_to"], fields["method"])
        if not schema.remove_metadata().equals(header.schema):
            raise ValueError("its columns are wrong")
        return header

    def to_bytes(self) -> bytes:
        """Return the schema message, whose metadata holds the header."""
        layout = {k: (str(v.dtype).removeprefix("torch."), list(v.shape)) for k, v in self.layout.items()}
        fields = {"version": VERSION, "layout": layout, "bound_to": self.bound_to, "method": self.method}
        content = to_json("method", fields)
        metadata = {b"store": content, b"crc32": b"%d" % zlib.crc32(content), b"bytes": b"%010d" % 0}
        metadata[b"bytes"] = b"%010d" % self.schema.with_metadata(metadata).serialize().size
        return self.schema.with_metadata(metadata).serialize().to_pybytes()

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns."""
        types = {"id": pa.utf8(), "values": pa.binary(self.width), "details": pa.utf8(), "crc": pa.uint32()}
        return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])

    @cached_property
    def width(self) -> int:
        """Bytes of one profile's tensors."""
        return sum(_sizes(self.layout))


def _sizes(layout: Mapping[str, Tensor]) -> list[int]:
    return [value.numel() * value.element_size() for value in layout.values()]


def to_json(key: str, content: Mapping[str, Any]) -> bytes:
    """Return a mapping as JSON, UTF-8.

    Raises:
        InputError: if it holds something for which JSON has no form; the sentence names ``key``.
    """
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} cannot be written as JSON: {error}.") from error


def unpack_rows(layout: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Return the tensors in bytes (..., width), each (..., *shape); views of a single row."""
    pieces = rows.split(_sizes(layout), dim=-1)
    return {
        name: piece.reshape(-1).view(like.dtype).view((*rows.shape[:-1], *like.shape))
        for (name, like), piece in zip(layout.items(), pieces, strict=True)
    }


def batch_message(
    header: Header,
    ids: Sequence[str],
    states: Mapping[str, Tensor],
    details: Sequence[Mapping[str, Any]],
) -> memoryview:
    """Return the record batch of some profiles, as the bytes to append.

    Args:
        header: of the store.
        ids: P different names.
        states: every tensor of the layout, stacked: (P, *shape).
        details: P mappings, as JSON has them.

    Raises:
        InputError: if the ids, tensors or details do not fit.
    """
    _check_ids(ids)
    _check_states(header.layout, len(ids), states)
    if len(details) != len(ids):
        raise InputError(f"There are {len(ids)} ids, but details for {len(details)} profiles.")
    names = [name.encode() for name in ids]
    values = _pack(header.layout, states).numpy()
    extras = [to_json(f"details of {name!r}", extra) for name, extra in zip(ids, details, strict=True)]
    columns = [
        pa.array(names, pa.utf8()),
        pa.Array.from_buffers(pa.binary(header.width), len(ids), [None, pa.py_buffer(values)]),
        pa.array(extras, pa.utf8()),
        pa.array(map(checksum, names, values, extras), pa.uint32()),
    ]
    return memoryview(pa.record_batch(columns, schema=header.schema).serialize())


def _check_ids(ids: Sequence[str]) -> None:
    wrong = next((name for name in ids if not isinstance(name, str) or not name), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} cannot be the id of a profile: ids are non-empty strings.")
    if len(set(ids)) != len(ids):
        raise InputError("An id stands twice in one append. Give each profile once.")


def _check_states(layout: Mapping[str, Tensor], profiles: int, states: Mapping[str, Tensor]) -> None:
    if wrong := sorted(states.keys() ^ layout.keys()):
        raise InputError(
            f"The states do not fit the store: {len(wrong)} tensors are missing or unknown, the first "
            f"is {wrong[0]!r}. The store's layout names what a profile holds."
        )
    for name, like in layout.items():
        shape, dtype = tuple(states[name].shape), states[name].dtype
        if (shape, dtype) != ((profiles, *like.shape), like.dtype):
            raise InputError(
                f"states[{name!r}] is {dtype} {shape}; for {profiles} ids, the store needs "
                f"{like.dtype} {(profiles, *like.shape)}."
            )


def _pack(layout: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> Tensor:
    stacked = [(states[name].detach().cpu().contiguous(), like.numel()) for name, like in layout.items()]
    return torch.cat([value.view(len(value), size).view(torch.uint8) for value, size in stacked], dim=1)


def checksum(identifier: Any, values: Any, details: Any) -> int:
    """Return the CRC-32 over a profile's id, values and details, each given as bytes."""
    return zlib.crc32(details, zlib.crc32(values, zlib.crc32(identifier)))
