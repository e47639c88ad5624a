"""The records of LaMP's JSON files: a query with or without a gold label, and the items of a profile.

The largest file has 3.4 GB, so records are streamed one by one.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from gluelamp.errors import InputError, unknown
from gluelamp.tasks.lamp.tasks import FILE_SPLITS, RecordFormat, record_format
from gluelamp.tasks.task import Task
from gluelamp.tasks.values import bad_character, identifier, label_name, not_a_name

Label = str | float

_PAIR_BYTES = 12  # of the escapes of two surrogates
_HIGH = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_UNPAIRED = re.compile(rb"(\\+)u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True)
class Item:
    """A query or a profile item.

    Args:
        texts: one per text column for a query, only the first for a profile item.
        label: class name or score; None where there is none.
    """

    texts: tuple[str, ...]
    label: Label | None


@dataclass(frozen=True)
class Record:
    """One record of a questions file, with its gold label.

    Args:
        name: the record's id; ids are strings, because some begin with a zero.
        user: the record's ``user_id``, where the file has one.
        query: None where the input lacks the instruction, as in record 110 of LaMP-2M's dev file, or a text.
        profile: the items that have a text; in LaMP-1 none has a label.
        unknown_labels: number of labels in the profile that are none of the task's labels.
        split: the official file that holds the record.
    """

    name: str
    user: str | None
    query: Item | None
    profile: tuple[Item, ...]
    unknown_labels: int = 0
    split: str = "train"


def read_records(task: Task, folder: Path) -> Iterator[Record]:
    """Stream the records of all official files in a folder, train before dev before test.

    The test file has no outputs. It is read because its records link texts to users.

    Args:
        task: the declaration.
        folder: with ``train_questions.json`` or ``train/train_questions.json``, and so on.

    Raises:
        InputError: if a file is broken, has no outputs file, or the ids of both differ.
    """
    for split in FILE_SPLITS:
        questions = find_file(folder, split, "questions")
        if questions is None:
            continue
        outputs = find_file(folder, split, "outputs")
        if outputs is None and split != "test":
            raise InputError(
                f"{questions} has no {split}_outputs.json in its folder; the labels are needed. "
                "Download both files, or remove this one."
            )
        yield from _read_split(task, split, questions, outputs)


def find_file(folder: Path, split: str, kind: str) -> Path | None:
    """Return the path of one official file; None if it is not there.

    Args:
        folder: the folder of the task.
        split: ``"train"``, ``"dev"`` or ``"test"``.
        kind: ``"questions"`` or ``"outputs"``.
    """
    name = f"{split}_{kind}.json"
    return next((path for path in (folder / name, folder / split / name) if path.is_file()), None)


def read_golds(path: Path) -> dict[str, str]:
    """Return the outputs of an ``outputs`` file by record id; ids are strings with leading zeros.

    Raises:
        InputError: if the file is not ``{"task": ..., "golds": [{"id": ..., "output": ...}, ...]}``.
    """
    golds: dict[str, str] = {}
    for item in stream_objects(path, "golds.item", b"{"):
        name = item["id"]
        if "output" not in item:
            raise InputError(f"{path}: the record with id {name!r} has no key 'output'.")
        if name in golds:
            raise InputError(f"{path}: id {name!r} occurs twice.")
        golds[name] = str(item["output"]).strip()
    if not golds:
        raise InputError(f"{path} holds no golds; expected is a list of ids and outputs under 'golds'.")
    return golds


def stream_objects(path: Path, prefix: str, opening: bytes) -> Iterator[dict[str, Any]]:
    """Yield the objects of one list in a JSON file, one by one; their ``id`` in its one spelling.

    Args:
        path: the file.
        prefix: the position of the list's items, as ijson names it: ``"item"`` or ``"golds.item"``.
        opening: the first byte of the file, ``b"["`` or ``b"{"``.

    Raises:
        InputError: if the file is no such JSON, for example HTML, or is truncated.
    """
    with _opened(path, opening) as file:
        for number, item in enumerate(ijson.items(_MarkedSurrogates(file), prefix, use_float=True), start=1):
            if not isinstance(item, dict) or "id" not in item:
                raise InputError(f"{path}, record {number} is not a JSON object with the key 'id'.")
            yield item | {"id": _identifier(item["id"], f"{path}, record {number}: 'id'")}


def parse_record(
    task: Task, question: Mapping[str, Any], gold: str | None, origin: str, split: str = "train"
) -> Record:
    """Return a record from one entry of a questions file.

    Args:
        task: the declaration.
        question: an object with ``id``, ``input`` and ``profile``, and optionally ``user_id``.
        gold: the output of the same id, if there is one.
        origin: the file, for messages.
        split: the split of the file.

    Raises:
        InputError: if a key is missing or has a wrong type, or if the gold is none of the task's labels.
    """
    where = f"{origin}: the record with id {question['id']!r}"
    if not isinstance(question.get("input"), str):
        raise InputError(f"{where} has no text under the key 'input'; its keys are: {', '.join(question)}.")
    entries = question.get("profile")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{where} has no list of objects under the key 'profile'.")
    form = record_format(task)
    for entry in (question, *entries):
        _check_text(entry.get("input" if entry is question else form.text_key), where)
    label = None if gold is None else task_label(task, gold)
    if gold is not None and label is None:
        raise InputError(f"{where}: {unknown('output', gold, task.labels or ('a number from 1 to 5',))}")
    # A query without the instruction is skipped, but the profile of its record is used.
    texts = _clean(form.query(question["input"]) or ("",))
    profile = [_profile_item(task, form, entry) for entry in entries]
    user = question.get("user_id")
    return Record(
        name=str(question["id"]),
        user=None if user is None else _identifier(user, f"{where}: 'user_id'"),
        query=Item(texts, label) if texts[0] else None,
        profile=tuple(item for item in profile if item.texts[0]),
        unknown_labels=sum(item.label is None for item in profile) if form.label_key else 0,
        split=split,
    )


def task_label(task: Task, value: object) -> Label | None:
    """Return a label in the task's own form; None if it is none of the task's labels."""
    text = label_name(value)  # 5, 5.0 and "5.0" are one rating
    # Profiles may contain labels that are not in the task's list. Such items have no label.
    if text is None or task.labels:
        return text if text in task.labels else None
    try:
        score = float(text)
    except ValueError:
        return None
    low, high = task.label_range or (score, score)
    return score if low <= score <= high else None


def _read_split(task: Task, split: str, questions: Path, outputs: Path | None) -> Iterator[Record]:
    golds = read_golds(outputs) if outputs else {}
    may_lack = record_format(task).without_gold if split == "dev" else frozenset()
    seen: set[str] = set()
    with_query = 0
    for question in stream_objects(questions, "item", b"["):
        name = str(question["id"])
        if name in seen:
            raise InputError(f"{questions}: id {name!r} occurs twice.")
        # Two official dev records have no gold. Any other missing gold means a damaged or foreign file.
        if outputs and name not in golds and name not in may_lack:
            raise InputError(f"{outputs} has no output of id {name!r}, which {questions.name} has.")
        seen.add(name)
        record = parse_record(task, question, golds.get(name), str(questions), split)
        with_query += record.query is not None
        yield record
    # The generator has consumed the file: only now are surplus golds and a wrong task detectable.
    if surplus := golds.keys() - seen:
        raise InputError(f"{questions} has no record of id {min(surplus)!r}, which {outputs} has.")
    if not with_query:
        raise InputError(
            f"No record of {questions} has a query of task {task.name!r}. Check that the file belongs to "
            "this task."
        )


def _identifier(value: object, place: str) -> str:
    name = identifier(value)
    if name is None:
        raise InputError(not_a_name(place, value))
    return name


def _check_text(text: object, where: str) -> None:
    if isinstance(text, str) and (bad := bad_character(text)):
        raise InputError(
            f"{where} has a text with {bad}, or with an unpaired surrogate. Replace or remove it."
        )


def _profile_item(task: Task, form: RecordFormat, entry: Mapping[str, Any]) -> Item:
    label = task_label(task, entry.get(form.label_key)) if form.label_key else None
    return Item(_clean((str(entry.get(form.text_key) or ""),)), label)


def _clean(texts: tuple[str, ...]) -> tuple[str, ...]:
    # The same article occurs in several records with different white space. It must be one text.
    return tuple(" ".join(text.split()) for text in texts)


class _MarkedSurrogates:
    """A file in which NUL replaces each unpaired high surrogate; `bad_character` finds it in a record.

    ijson would read such a surrogate as a question mark, without an error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return a block of bytes that ends where no pair of escapes is cut; empty at the end."""
        more = self._file.read(size)
        block = self._rest + more
        end = _uncut_length(block) if more else len(block)
        self._rest = block[end:]
        return _UNPAIRED.sub(_marked, block[:end]) if end or not more else self.read(size)


def _marked(escape: re.Match[bytes]) -> bytes:
    # An even number of backslashes are escaped themselves, and what follows is text.
    return escape[1] + b"u0000" if len(escape[1]) % 2 else escape[0]


def _uncut_length(block: bytes) -> int:
    escape = block.find(b"\\", max(0, len(block) - _PAIR_BYTES))
    if escape < 0:
        return len(block)
    # All backslashes of a run are needed to know which of them are escaped.
    escape = len(block[:escape].rstrip(b"\\"))
    before = block[max(0, escape - _PAIR_BYTES // 2) : escape]
    return len(block[: escape - len(before)].rstrip(b"\\")) if _HIGH.fullmatch(before) else escape


@contextmanager
def _opened(path: Path, opening: bytes) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            # The site sends a web page for a wrong address, which ijson would report as a syntax error.
            start = file.read(64)
            skipped = len(BOM_UTF8) if start.startswith(BOM_UTF8) else 0
            start = start[skipped:].lstrip()[:1]
            if start != opening:
                problem = "is empty" if not start else f"begins with {start.decode(errors='replace')!r}"
                page = "; it is a web page, not data: download it again" if start == b"<" else ""
                raise InputError(
                    f"{path} {problem}; expected is JSON that begins with {opening.decode()!r}{page}."
                )
            file.seek(skipped)
            yield file
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is truncated or not JSON: {' '.join(str(error).split())}.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
