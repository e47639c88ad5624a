"""Task states of up to a million profiles over one backbone, in one SQLite file.

- A profile is one row. An index finds it by its id, so a switch takes the same time in any store.
- An append is one transaction: all of its profiles are written or none, and they are on disk afterwards.
- Each row has a checksum. A damaged profile is reported and never returned; the others stay readable.
- One file, and not one for each profile: a million safetensors need a million inodes and headers.

The file has a rollback journal and no write-ahead log. A write-ahead log would leave ``-wal`` and ``-shm``
files next to the store, and a reader could not open it in a read-only folder. The price: readers wait
while an append is written. If a process dies during an append, a ``-journal`` file stays until the next
reader opens the store and undoes the append; this reader needs write permission. On a network file
system, locks may not work: append from one machine at a time.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gluelamp.errors import InputError

_VERSION = 2  # version 1 was an Arrow stream
_ARROW_START = b"\xff\xff\xff\xff"
_PAGE_BYTES = 65536  # with SQLite's default of 4096, a profile of 3.2 KB occupies a page of its own
_TIMEOUT_S = 60  # how long a reader or writer waits for an append of another process
_DTYPES = ("float32", "bfloat16", "float16", "uint8", "int32", "int64", "bool")
_TABLES = """
CREATE TABLE meta (content TEXT NOT NULL, crc32 INTEGER NOT NULL);
CREATE TABLE profiles (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, state BLOB NOT NULL, details TEXT NOT NULL,
    crc32 INTEGER NOT NULL
);
CREATE UNIQUE INDEX ids ON profiles (id);
"""
_APPEND = """
INSERT INTO profiles (id, state, details, crc32) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, details = excluded.details, crc32 = excluded.crc32
"""
# As bytes, so that text that is no longer UTF-8 is a wrong checksum like any other damage.
_READ = "SELECT CAST(state AS BLOB), CAST(details AS BLOB), crc32 FROM profiles WHERE id = ?"


class ProfileStore:
    """Profiles by id: a task state and some details each. `create` and `open` return one.

    Any number of processes may read while others append. Each read returns the profile as it is in the file
    at that moment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # No Python-side transactions: `append` begins its own, and each read is one.
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", _TIMEOUT_S, isolation_level=None, uri=True
        )
        self._connection.execute("PRAGMA synchronous = EXTRA")  # also syncs the folder
        self._connection.text_factory = lambda text: text.decode(errors="backslashreplace")  # damaged ids

    @classmethod
    def create(
        cls,
        path: Path,
        layout: Mapping[str, Tensor],
        *,
        provenance: Mapping[str, str],
        method: Mapping[str, Any],
    ) -> ProfileStore:
        """Make a new store without profiles.

        Args:
            path: the file. Its folder is created if it is missing.
            layout: an example of every tensor of a profile; only names, shapes and types are used.
            provenance: checksums of the backbone and the shared state that the profiles need; from
                `gluelamp.methods.storage.provenance`.
            method: the method's name and hyper-parameters, as JSON types.

        Raises:
            InputError: if the file exists, or the layout has no values or an unsupported type.
        """
        _check_layout(layout)
        # Wide elements come first, so that each tensor is aligned in a row.
        wide_first = sorted(layout.items(), key=lambda item: -item[1].element_size())
        shapes = {name: (_name(value.dtype), list(value.shape)) for name, value in wide_first}
        meta = {"version": _VERSION, "layout": shapes, "provenance": dict(provenance), "method": dict(method)}
        content = _to_json("method", meta)
        # "x" creates the file or fails; SQLite accepts an empty file as a new database.
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("xb").close()
        except FileExistsError as error:
            raise InputError(f"{path} exists. Open it with ProfileStore.open, or remove it.") from error
        store = cls(path)
        store._connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        store._connection.executescript(f"BEGIN; {_TABLES} COMMIT;")
        store._connection.execute("INSERT INTO meta VALUES (?, ?)", (content, zlib.crc32(content.encode())))
        store._read_meta()
        return store

    @classmethod
    def open(cls, path: Path) -> ProfileStore:
        """Open a store to read and to append.

        Profiles are checked when they are read; `problems` checks all of them.

        Raises:
            InputError: if the file is missing, is not a profile store, or its header is damaged.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist. ProfileStore.create makes a profile store.")
        # SQLite would only report that this is not a database.
        with path.open("rb") as file:
            if file.read(4) == _ARROW_START:
                raise InputError(
                    f"{path} is a profile store of version 1, which cannot be read any more. Remove it and "
                    "run the training again: it writes the store from the stored task states."
                )
        store = None
        try:
            store = cls(path)
            store._read_meta()
        except (sqlite3.Error, ValueError, LookupError, TypeError, AttributeError) as error:
            if store is not None:
                store.close()
            raise InputError(
                f"{path} is not a profile store of version {_VERSION}, or its header is damaged ({error}). "
                "Without the header no profile can be read: restore the file from a copy."
            ) from error
        return store

    def _read_meta(self) -> None:
        content, crc32 = self._connection.execute("SELECT content, crc32 FROM meta").fetchone()
        if zlib.crc32(content.encode()) != crc32:
            raise ValueError("its checksum is wrong")
        meta = json.loads(content)
        if meta["version"] != _VERSION:
            raise ValueError(f"its version is {meta['version']}")
        pages, page_bytes = (self._execute(f"PRAGMA {key}")[0][0] for key in ("page_count", "page_size"))
        if self.path.stat().st_size < pages * page_bytes:  # SQLite would read zeros
            raise ValueError(f"it had {pages * page_bytes} bytes and has been cut")
        self.layout = {
            name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
            for name, (dtype, shape) in meta["layout"].items()
        }
        """Every tensor of a profile, on the meta device, in the order of its bytes in a row."""
        self.provenance: dict[str, str] = meta["provenance"]
        """Checksums of the backbone and the shared state that the profiles need."""
        self.method: dict[str, Any] = meta["method"]
        """The method's name and hyper-parameters."""
        self._sizes = [value.numel() * value.element_size() for value in self.layout.values()]

    @property
    def ids(self) -> list[str]:
        """All ids in the order of their first append."""
        # From the index alone: it is far smaller than the rows, and readable if a row is damaged.
        query = "SELECT id FROM profiles INDEXED BY ids ORDER BY number"
        return [str(name) for (name,) in self._execute(query)]

    def __len__(self) -> int:
        return int(self._execute("SELECT count(*) FROM profiles INDEXED BY ids")[0][0])

    def __contains__(self, identifier: object) -> bool:
        return bool(self._execute("SELECT 1 FROM profiles INDEXED BY ids WHERE id = ?", (identifier,)))

    def append(
        self,
        ids: Sequence[str],
        states: Mapping[str, Tensor],
        details: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add profiles, all of them or none. A profile that exists is replaced.

        Args:
            ids: P different names.
            states: every tensor of the layout, stacked: (P, *shape).
            details: P mappings of JSON types; empty if None.

        Raises:
            InputError: if the ids, tensors or details do not fit, or the file cannot be written.
        """
        details = [{}] * len(ids) if details is None else details
        self._check_append(ids, states, details)
        texts = [_to_json(f"details of {name!r}", extra) for name, extra in zip(ids, details, strict=True)]
        rows = [
            (name, state, text, _checksum(name, state, text.encode()))
            for name, state, text in zip(ids, self._pack(states), texts, strict=True)
        ]
        # IMMEDIATE takes the write lock at the start: two writers wait for each other instead of failing.
        try:
            with self._connection:  # commits, or rolls back if anything raises
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(_APPEND, rows)
        except sqlite3.Error as error:
            raise InputError(f"{self.path} cannot be written: {error}. Nothing was appended.") from error

    def read(self, identifier: str) -> dict[str, Tensor]:
        """Return a profile's task state.

        Raises:
            InputError: if there is no such profile, or it is damaged.
        """
        state, _ = self._row(identifier)
        return self._unpack(bytearray(state))

    def read_many(self, ids: Sequence[str]) -> dict[str, Tensor]:
        """Return the task states of P profiles, stacked: (P, *shape).

        Raises:
            InputError: if one of them does not exist or is damaged, or ``ids`` is empty.
        """
        if not ids:
            raise InputError("There is nothing to stack. Give the id of at least one profile.")
        return self._unpack(bytearray().join(self._row(name)[0] for name in ids), len(ids))

    def details(self, identifier: str) -> dict[str, Any]:
        """Return a profile's details.

        Raises:
            InputError: if there is no such profile, or it is damaged.
        """
        details: dict[str, Any] = json.loads(self._row(identifier)[1])
        return details

    def problems(self) -> list[str]:
        """Read every profile; return one sentence for each that is damaged."""
        sentences = []
        for name in self.ids:
            try:
                self._row(name)
            except InputError as error:
                sentences.append(str(error))
        return sentences

    def close(self) -> None:
        """Close the file. Nothing can be read afterwards."""
        self._connection.close()

    def __enter__(self) -> ProfileStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _execute(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise InputError(
                f"{self.path} cannot be read: {error}. If it is damaged, restore it from a copy."
            ) from error

    def _row(self, identifier: str) -> tuple[bytes, bytes]:
        """Return a profile's state and details, after a check of their checksum."""
        rows = self._execute(_READ, (identifier,))
        if not rows:
            sample = self._execute(
                "SELECT id FROM profiles INDEXED BY ids LIMIT 1000"
            )  # of a million: too slow
            names = [str(name) for (name,) in sample]
            close = get_close_matches(str(identifier), names, n=1) or names[:1]
            hint = f", such as {close[0]!r}" if close else ""
            raise InputError(f"{self.path} has no profile {identifier!r}; it has {len(self)}{hint}.")
        state, details, crc32 = rows[0]
        # A damaged row may hold NULL, which has no checksum.
        if state is None or details is None or _checksum(identifier, state, details) != crc32:
            raise InputError(
                f"{self.path}: profile {identifier[:80]!r} is damaged: its checksum is wrong. "
                "Append it again."
            )
        return state, details

    def _pack(self, states: Mapping[str, Tensor]) -> list[bytes]:
        """Return the bytes of each profile, one tensor after another."""
        # (P, bytes of the tensor) for each tensor; side by side they are the rows.
        stacked = [
            states[name].detach().cpu().contiguous().view(len(states[name]), like.numel()).view(torch.uint8)
            for name, like in self.layout.items()
        ]
        return [row.tobytes() for row in torch.cat(stacked, dim=1).numpy()]

    def _unpack(self, rows: bytearray, *profiles: int) -> dict[str, Tensor]:
        """Return the tensors in the bytes of one profile, or of some stacked."""
        # Each tensor is a slice of the row's bytes, with its own type and shape.
        pieces = torch.frombuffer(rows, dtype=torch.uint8).view(*profiles, -1).split(self._sizes, dim=-1)
        return {
            name: piece.reshape(-1).view(like.dtype).view((*profiles, *like.shape))
            for (name, like), piece in zip(self.layout.items(), pieces, strict=True)
        }

    def _check_append(
        self, ids: Sequence[str], states: Mapping[str, Tensor], details: Sequence[Mapping[str, Any]]
    ) -> None:
        wrong = next((name for name in ids if not isinstance(name, str) or not name), None)
        if wrong is not None:
            raise InputError(f"{wrong!r} cannot be the id of a profile: ids are non-empty strings.")
        if len(set(ids)) != len(ids):
            raise InputError("An id occurs twice in one append. Give each profile once.")
        if len(details) != len(ids):
            raise InputError(f"There are {len(ids)} ids, but details for {len(details)} profiles.")
        if names := sorted(states.keys() ^ self.layout.keys()):
            raise InputError(
                f"The states do not fit the store: {len(names)} tensors are missing or unknown, the first "
                f"is {names[0]!r}. The store's layout names the tensors of a profile."
            )
        for name, like in self.layout.items():
            shape, dtype = tuple(states[name].shape), states[name].dtype
            if (shape, dtype) != ((len(ids), *like.shape), like.dtype):
                raise InputError(
                    f"states[{name!r}] is {dtype} {shape}; for {len(ids)} ids, the store needs "
                    f"{like.dtype} {(len(ids), *like.shape)}."
                )


def _check_layout(layout: Mapping[str, Tensor]) -> None:
    if not any(value.numel() for value in layout.values()):
        raise InputError("The layout has no values. Give the tensors of one profile's task state.")
    for name, value in layout.items():
        if _name(value.dtype) not in _DTYPES:
            raise InputError(f"layout[{name!r}] is {value.dtype}; a store holds {', '.join(_DTYPES)}.")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _to_json(key: str, content: Mapping[str, Any]) -> str:
    """Return a mapping as JSON. An error names ``key``."""
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} cannot be written as JSON: {error}.") from error


def _checksum(identifier: str, state: bytes, details: bytes) -> int:
    return zlib.crc32(details, zlib.crc32(state, zlib.crc32(identifier.encode())))
