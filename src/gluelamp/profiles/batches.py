"""Where the record batches of a profile store stand, whatever parts of the file are damaged.

Damage must cost no more than itself: no length or position that the file claims is trusted, and after
a damaged part the search goes on at the next message that makes sense.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from struct import unpack, unpack_from
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from gluelamp.profiles.format import MARKER, Header, checksum

_CHUNK = 2**20
_ALIGNMENT = 8
_LARGEST_PADDING = 64  # of Arrow's writers; pyarrow's pads to 8


class Batch(NamedTuple):
    """One record batch: where its columns stand, in bytes from the file's start.

    Positions, not Arrow's arrays: those would keep every mapping of the growing file alive, and they
    trust the offsets of their strings.

    Args:
        start: of the message.
        end: of the message.
        rows: number of profiles.
        width: bytes of one profile's tensors.
        id_offsets: (rows + 1) int32, which delimit the ids.
        ids: UTF-8.
        values: (rows, width).
        detail_offsets: (rows + 1) int32.
        details: UTF-8.
        crcs: (rows,) uint32.
    """

    start: int
    end: int
    rows: int
    width: int
    id_offsets: int
    ids: int
    values: int
    detail_offsets: int
    details: int
    crcs: int

    def id(self, data: memoryview, row: int) -> memoryview:
        """Return a profile's id from the file's bytes."""
        return self._text(data, self.id_offsets, self.ids, row)

    def value(self, data: memoryview, row: int) -> memoryview:
        """Return a profile's tensors from the file's bytes."""
        start = self.value_start(row)
        return data[start : start + self.width]

    def value_start(self, row: int) -> int:
        """Return where a profile's tensors begin, in bytes from the file's start."""
        return self.values + row * self.width

    def detail(self, data: memoryview, row: int) -> memoryview:
        """Return a profile's details from the file's bytes."""
        return self._text(data, self.detail_offsets, self.details, row)

    def is_intact(self, data: memoryview, row: int) -> bool:
        """Return whether a profile's bytes are those that were written."""
        (written,) = unpack_from("<I", data, self.crcs + 4 * row)
        found = checksum(self.id(data, row), self.value(data, row), self.detail(data, row))
        return bool(found == written)

    def _text(self, data: memoryview, offsets: int, text: int, row: int) -> memoryview:
        start, end = unpack_from("<2i", data, offsets + 4 * row)
        return data[text + start : min(text + end, self.end)]


class Damage(NamedTuple):
    """Bytes in which there is no batch.

    Args:
        start: of the damage.
        end: where the next batch may begin; None if the file ends within a message.
    """

    start: int
    end: int | None


def find_batches(file: BinaryIO, data: memoryview, header: Header, start: int) -> Iterator[Batch | Damage]:
    """Yield what follows an offset, in order.

    Only whole messages are read through the mapping: what a later writer may cut away is read from
    the file, since a process dies when it touches a mapping beyond the file's end.

    Args:
        file: the store, unbuffered.
        data: the store, mapped.
        header: of the store.
        start: end of the header, or of a batch.
    """
    while start < len(data):
        end = _message_end(file, start, len(data))
        found: Batch | Damage | None = _batch_at(file, data, header, start, end)
        if found is None:
            later = _markers(file, start + _ALIGNMENT, len(data))
            ends = ((place, _message_end(file, place, len(data))) for place in later)
            end = next((place for place, stop in ends if _batch_at(file, data, header, place, stop)), end)
            found = Damage(start, end)
        yield found
        if found.end is None:
            return
        start = found.end


def _message_end(file: BinaryIO, start: int, size: int) -> int | None:
    """Return where the message at ``start`` ends, if there is one and it is whole."""
    try:
        file.seek(start)
        marker, length = unpack("<Ii", file.read(8))
        if marker != MARKER or not 0 < length <= size - start:
            return None
        end = start + 8 + length + _body_length(file.read(length))
    except struct.error:
        return None
    size = min(size, os.fstat(file.fileno()).st_size)  # a writer may have cut the mapped file since
    return end if start + 8 + length <= end <= size and end % _ALIGNMENT == 0 else None


def _body_length(metadata: bytes) -> int:
    """Return ``bodyLength``, the fourth field of the flatbuffer table ``Message`` (Message.fbs)."""
    (table,) = unpack_from("<I", metadata)
    (to_fields,) = unpack_from("<i", metadata, table)
    (field,) = unpack_from("<H", metadata, table - to_fields + 4 + 3 * 2)
    return int(unpack_from("<q", metadata, table + field)[0])


def _markers(file: BinaryIO, start: int, size: int) -> Iterator[int]:
    for place in range(start, size, _CHUNK):
        file.seek(place)
        chunk = file.read(min(_CHUNK, size - place))
        words = np.frombuffer(chunk, "<u8", count=len(chunk) // _ALIGNMENT)
        yield from (place + _ALIGNMENT * int(i) for i in np.flatnonzero(words & MARKER == MARKER))


def _batch_at(file: BinaryIO, data: memoryview, header: Header, start: int, end: int | None) -> Batch | None:
    batch = None if end is None else _parse(data, header, start, end)
    if batch is None:
        return None
    file.seek(batch.end)
    if file.read(4) in (b"", MARKER.to_bytes(4, "little")):
        return batch
    # What follows is damaged, or this message's length is: then none of its profiles makes sense.
    return batch if any(batch.is_intact(data, row) for row in range(batch.rows)) else None


def _parse(data: memoryview, header: Header, start: int, end: int) -> Batch | None:
    whole = pa.py_buffer(data)
    try:
        message = pa.ipc.read_message(whole.slice(start, end - start))
        batch = pa.ipc.read_record_batch(message, header.schema)
        places = [part.address - whole.address for c in batch.columns for part in c.buffers()[1:]]
        found = Batch(start, end, batch.num_rows, header.width, *places)
    except (pa.ArrowException, OSError, ValueError, AttributeError, TypeError):
        return None
    ends = (
        *(found.id_offsets + 4 * found.rows + 4, found.values + found.width * found.rows),
        *(found.detail_offsets + 4 * found.rows + 4, found.crcs + 4 * found.rows),
    )
    # A wrong length may span batches that follow: the last column must end where the message does.
    fits = min(places) >= start and max(ends) <= end < ends[-1] + _LARGEST_PADDING
    return found if fits else None
