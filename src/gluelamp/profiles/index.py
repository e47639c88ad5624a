"""Which profile stands where in a store, and what of the store is damaged."""

from __future__ import annotations

from bisect import bisect_right
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from gluelamp.errors import InputError
from gluelamp.profiles.batches import Batch, find_batches
from gluelamp.profiles.format import Header


class ProfileIndex:
    """The profiles of a store by id, as far as the file was read; it only ever grows.

    Args:
        path: the store, for sentences.
        header: of the store.
        end: of the header.
    """

    def __init__(self, path: Path, header: Header, end: int) -> None:
        self.rows: dict[str, int] = {}
        """By id in the order of their first appearance: the last row, numbered through all batches."""
        self.end = end
        """Where the next append goes: after the last whole batch, in bytes."""
        self._path = path
        self._header = header
        self._batches: list[Batch] = []
        self._firsts = [0]  # number of each batch's first row, and of the next batch's
        self._gaps: list[str] = []
        self._damaged: dict[int, str] = {}  # by the row's number
        self._tail: list[str] = []

    @property
    def problems(self) -> list[str]:
        """One sentence for each damage that was found."""
        return [*self._gaps, *self._damaged.values(), *self._tail]

    def take_in(self, file: BinaryIO, data: memoryview, check: bool) -> None:
        """Read on to the end of the file.

        Args:
            file: the store, unbuffered.
            data: the store, mapped.
            check: whether the checksum of each new profile is checked.

        Raises:
            InputError: if the file is shorter than it was.
        """
        if len(data) < self.end:
            raise InputError(f"{self._path} had {self.end} bytes and now has {len(data)}. Open it again.")
        self._tail = []
        for found in find_batches(file, data, self._header, self.end):
            if isinstance(found, Batch):
                self._take_in_batch(data, found, check)
            elif found.end is not None:
                place = f"{self._path}: bytes {found.start} to {found.end}"
                self._gaps.append(f"{place} are damaged; the profiles in them are lost.")
            else:
                self._tail = [
                    f"{self._path}: the file ends at byte {len(data)}, within an append that began at byte "
                    f"{found.start}. Unless that is still under way, the next append moves it to a file "
                    "beside the store."
                ]
            self.end = found.end or self.end

    def _take_in_batch(self, data: memoryview, batch: Batch, check: bool) -> None:
        first = self._firsts[-1]
        self._batches.append(batch)
        self._firsts.append(first + batch.rows)
        for row in range(batch.rows):
            name = str(batch.id(data, row), "utf-8", "backslashreplace")
            self._damaged.pop(self.rows.get(name, -1), None)  # this row takes that one's place
            self.rows[name] = first + row
            if check and not batch.is_intact(data, row):
                self.name_damage(name)

    def name_damage(self, identifier: str) -> str:
        """Note that a profile is damaged; return the sentence that says so."""
        number = self.rows[identifier]
        batch, row = self._place(number)
        sentence = self._damaged[number] = (
            f"{self._path}: profile {identifier[:80]!r}, as it stands at byte {batch.value_start(row)}, is "
            "damaged: its checksum is wrong. Append it again."
        )
        return sentence

    def locate(self, identifier: str) -> tuple[Batch, int]:
        """Return a profile's batch, and its row there.

        Of a damaged profile an older state is not taken: nobody would see that it is old.

        Raises:
            InputError: if there is no such profile, or it is known to be damaged.
        """
        number = self.rows.get(identifier)
        if number is None:
            some = list(islice(self.rows, 1000))  # to compare with all of a million takes seconds
            close = get_close_matches(str(identifier), some, n=1) or some[:1]
            hint = f", such as {close[0]!r}" if close else ""
            raise InputError(f"{self._path} has no profile {identifier!r}; it has {len(self.rows)}{hint}.")
        if number in self._damaged:
            raise InputError(self._damaged[number])
        return self._place(number)

    def _place(self, number: int) -> tuple[Batch, int]:
        place = bisect_right(self._firsts, number) - 1
        return self._batches[place], number - self._firsts[place]
