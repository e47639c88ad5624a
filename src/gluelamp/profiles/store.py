"""Task states of a million profiles over one backbone, in one file.

The file is one Arrow IPC stream, to which appends add record batches (id, values, details, crc):

- Append-only: a crash can break the last append alone, and what readers have mapped never changes.
- A stream, not an Arrow file or Parquet: those end in a footer, which every append would rewrite.
- Fixed-size rows, memory-mapped: one profile is one slice, read without touching the others.
- A checksum a profile: damage is found, named, and costs only the profile that it hit.
- One file, not one a profile: a million safetensors cost a million inodes and a header each.
- Arrow is at hand in every language; a batch opens as a table without this package.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa
import torch
from filelock import FileLock
from torch import Tensor

from gluelamp.errors import InputError
from gluelamp.profiles.batches import Batch
from gluelamp.profiles.format import Header, batch_message, unpack_rows
from gluelamp.profiles.index import ProfileIndex

Check = Literal["full", "lazy"]


class ProfileStore:
    """Profiles by id: a task state and some details each. Made by `create` and `open`.

    A store shows the file as it was when it was opened, last refreshed, or last appended to by itself.
    Any number of processes may read while others append. The index takes about 120 bytes of memory a profile.
    """

    def __init__(self, path: Path, check: Check) -> None:
        with path.open("rb") as file:
            self._header, start = Header.read(path, file)
            self._file = _identity(file)
        self.path = path
        self._check = check
        self._data = memoryview(b"")
        self._index = ProfileIndex(path, self._header, start)
        self.refresh()

    @classmethod
    def create(
        cls,
        path: Path,
        layout: Mapping[str, Tensor],
        *,
        bound_to: Mapping[str, str],
        method: Mapping[str, Any],
    ) -> ProfileStore:
        """Make a new store without profiles.

        Args:
            path: the file; its folder is made where it is missing.
            layout: an example of every tensor of a profile: names, shapes and types count.
            bound_to: from `gluelamp.methods.storage.provenance`: what the profiles mean nothing without.
            method: the method's name and fields, as JSON has them.

        Raises:
            InputError: if the file is there, or the layout holds what a store cannot.
        """
        header = Header.of(layout, bound_to, method).to_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                file.write(header)
        except FileExistsError as error:
            raise InputError(f"{path} is there. Open it with ProfileStore.open, or remove it.") from error
        return cls(path, "full")

    @classmethod
    def open(cls, path: Path, check: Check = "full") -> ProfileStore:
        """Open a store to read and to append.

        Args:
            path: the file.
            check: ``full`` reads the file and checks every profile now; ``lazy`` checks a profile each
                time it is read, and cannot see before that an id is damaged.

        Raises:
            InputError: if there is no store, or its header is damaged. Damage to profiles raises
                nothing here: see `problems`.
        """
        if not path.is_file():
            raise InputError(f"{path} is not there. ProfileStore.create makes a profile store.")
        return cls(path, check)

    @property
    def layout(self) -> dict[str, Tensor]:
        """Every tensor of a profile, on the meta device."""
        return dict(self._header.layout)

    @property
    def bound_to(self) -> dict[str, str]:
        """What the profiles mean nothing without, from `gluelamp.methods.storage.provenance`."""
        return dict(self._header.bound_to)

    @property
    def method(self) -> dict[str, Any]:
        """The method's name and fields."""
        return dict(self._header.method)

    @property
    def ids(self) -> list[str]:
        """All ids in the order of their first appearance, those of damaged profiles among them."""
        return list(self._index.rows)

    @property
    def problems(self) -> list[str]:
        """One sentence for each damage that was found, with the profile's id or the place in bytes."""
        return self._index.problems

    def __len__(self) -> int:
        return len(self._index.rows)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._index.rows

    def append(
        self,
        ids: Sequence[str],
        states: Mapping[str, Tensor],
        details: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add profiles, all of them or none; one that is there is replaced.

        They are on disk when this returns. What stands behind the last whole append, such as what a crash of
        an earlier one left, is moved to a file beside the store.

        Args:
            ids: P different names.
            states: every tensor of the layout, stacked: (P, *shape).
            details: P mappings, as JSON has them; empty if None.

        Raises:
            InputError: if the ids, tensors or details do not fit, or another file took the store's place.
        """
        if not ids:
            return
        details = [{}] * len(ids) if details is None else details
        message = batch_message(self._header, ids, states, details)
        with FileLock(f"{self.path}.lock"), self.path.open("r+b") as file:
            self.refresh()
            file.seek(self._index.end)
            if rest := file.read():  # a crash's, or a batch whose length is damaged
                self.path.with_name(f"{self.path.name}.tail-{self._index.end}").write_bytes(rest)
            file.truncate(self._index.end)
            file.seek(self._index.end)
            file.write(message)
            file.flush()
            os.fsync(file.fileno())
            self._take_in(check=False)

    def refresh(self) -> None:
        """Take in what was appended since; what was read before is not read again.

        Raises:
            InputError: if the file is shorter than it was, or another took its place.
        """
        self._take_in(check=self._check == "full")

    def _take_in(self, check: bool) -> None:
        with self.path.open("rb", buffering=0) as file:
            if _identity(file) != self._file:  # what is mapped keeps the old file's number in use
                raise InputError(f"{self.path} was replaced by another file. Open it again.")
            data = memoryview(pa.memory_map(str(self.path)).read_buffer())
            self._index.take_in(file, data, check)
        self._data = data

    def read(self, identifier: str) -> dict[str, Tensor]:
        """Return a profile's task state.

        Raises:
            InputError: if there is no such profile, or it is damaged.
        """
        batch, row = self._locate(identifier)
        return self._tensors(bytearray(batch.value(self._data, row)), self._header.width)

    def read_many(self, ids: Sequence[str]) -> dict[str, Tensor]:
        """Return the task states of P profiles, stacked: (P, *shape).

        Raises:
            InputError: if one of them is not there, or is damaged, or ``ids`` is empty.
        """
        if not ids:
            raise InputError("There is nothing to stack: give the id of a profile.")
        places = [self._locate(name) for name in ids]
        rows = bytearray().join(batch.value(self._data, row) for batch, row in places)
        return self._tensors(rows, len(ids), self._header.width)

    def _tensors(self, rows: bytearray, *shape: int) -> dict[str, Tensor]:
        # A copy, because the mapping is read-only and torch has no read-only tensors.
        return unpack_rows(self._header.layout, torch.frombuffer(rows, dtype=torch.uint8).view(shape))

    def details(self, identifier: str) -> dict[str, Any]:
        """Return a profile's details.

        Raises:
            InputError: if there is no such profile, or it is damaged.
        """
        batch, row = self._locate(identifier)
        details: dict[str, Any] = json.loads(bytes(batch.detail(self._data, row)))
        return details

    def _locate(self, identifier: str) -> tuple[Batch, int]:
        batch, row = self._index.locate(identifier)
        if self._check == "lazy" and not batch.is_intact(self._data, row):
            raise InputError(self._index.name_damage(identifier))
        return batch, row

    def compact(self, destination: Path) -> ProfileStore:
        """Write the last state of every profile to a new store, in large batches, and return it.

        Raises:
            InputError: if the destination is there, or a profile is damaged.
        """
        store = self.create(destination, self.layout, bound_to=self.bound_to, method=self.method)
        ids = iter(self.ids)
        while part := list(islice(ids, 10_000)):
            store.append(part, self.read_many(part), [self.details(name) for name in part])
        return store

    def close(self) -> None:
        """Let go of the file; nothing can be read afterwards."""
        self._data.release()

    def __enter__(self) -> ProfileStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(file: IO[bytes]) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino
