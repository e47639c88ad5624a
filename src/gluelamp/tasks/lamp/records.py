"""One record of LaMP: a query with or without a gold label, and the items of the user's profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gluelamp.errors import InputError, unknown
from gluelamp.tasks.lamp.files import read_golds, stream
from gluelamp.tasks.lamp.layout import SPLITS, Layout, layout_of
from gluelamp.tasks.task import Task

Label = str | float


@dataclass(frozen=True)
class Item:
    """A query or a profile item.

    Args:
        texts: of a query one per text column, of a profile item the first.
        label: class name, score, or None where there is none.
    """

    texts: tuple[str, ...]
    label: Label | None


@dataclass(frozen=True)
class Record:
    """One record of a questions file, with its gold.

    Args:
        name: the record's id; ids are strings, because some begin with a zero.
        user: the record's ``user_id``, where the file has one.
        query: None where the input lacks the instruction, as in record 110 of LaMP-2M's dev file, or a text.
        profile: the items that have a text; in LaMP-1 none has a label.
        unknown_labels: number of labels in the profile that the task does not have.
        split: the official file that the record is from.
    """

    name: str
    user: str | None
    query: Item | None
    profile: tuple[Item, ...]
    unknown_labels: int = 0
    split: str = "train"


def parse_record(
    task: Task, question: Mapping[str, Any], gold: str | None, origin: str, split: str = "train"
) -> Record:
    """Return a record from one entry of a questions file.

    Args:
        task: the declaration.
        question: an object with ``id``, ``input`` and ``profile``, perhaps with ``user_id``.
        gold: the output of the same id, if it has one.
        origin: the file, for messages.
        split: of the file.

    Raises:
        InputError: if a key is missing or holds something else, or if the gold is none of the task's
            labels.
    """
    where = f"{origin}: the record with id {question['id']!r}"
    _check_schema(question, where)
    layout = layout_of(task)
    label = None if gold is None else label_of(task, gold)
    if gold is not None and label is None:
        known = task.labels or ("a number from 1 to 5",)
        raise InputError(f"{where}: {unknown('output', gold, known)}")
    texts = _clean(layout.query(question["input"]) or ("",))
    profile = [_profile_item(task, layout, entry) for entry in question["profile"]]
    unlabelled = sum(item.label is None for item in profile) if layout.label_key else 0
    user = question.get("user_id")
    return Record(
        name=str(question["id"]),
        user=None if user is None else str(user),
        query=Item(texts, label) if texts[0] else None,
        profile=tuple(item for item in profile if item.texts[0]),
        unknown_labels=unlabelled,
        split=split,
    )


def label_of(task: Task, given: object) -> Label | None:
    """Return a label in the task's own form; None if it is none of the task's labels."""
    whole = isinstance(given, float) and given.is_integer()  # JSON may hold a rating 5 as 5.0
    text = str(int(given) if whole else given).strip()  # type: ignore[call-overload]  # whole says float
    if task.labels:
        return text if text in task.labels else None
    try:
        score = float(text)
    except ValueError:
        return None
    low, high = task.label_range or (score, score)
    return score if low <= score <= high else None


def read_records(task: Task, folder: Path) -> Iterator[Record]:
    """Stream the records of all official files in a folder, train before dev before test.

    The test file has no outputs; its records tell which texts are one user's.

    Args:
        task: the declaration.
        folder: with ``train_questions.json`` or ``train/train_questions.json``, and so on.

    Raises:
        InputError: if a file is broken, has no outputs beside it, or does not have their ids.
    """
    for split in SPLITS:
        questions = find_file(folder, split, "questions")
        if questions is None:
            continue
        outputs = find_file(folder, split, "outputs")
        if outputs is None and split != "test":
            raise InputError(
                f"{questions} has no {split}_outputs.json beside it; labels are needed. "
                "Download both files, or remove this one."
            )
        yield from _read_split(task, split, questions, outputs)


def find_file(folder: Path, split: str, kind: str) -> Path | None:
    """Return the path of one official file; None if it is not there.

    Args:
        folder: of the task.
        split: ``"train"``, ``"dev"`` or ``"test"``.
        kind: ``"questions"`` or ``"outputs"``.
    """
    name = f"{split}_{kind}.json"
    return next((path for path in (folder / name, folder / split / name) if path.is_file()), None)


def _read_split(task: Task, split: str, questions: Path, outputs: Path | None) -> Iterator[Record]:
    golds = read_golds(outputs) if outputs else {}
    may_lack = layout_of(task).without_gold if split == "dev" else frozenset()
    seen: set[str] = set()
    with_query = 0
    for question in stream(questions, "item", b"["):
        name = str(question["id"])
        if name in seen:
            raise InputError(f"{questions}: id {name!r} is there twice.")
        if outputs and name not in golds and name not in may_lack:
            raise InputError(f"{outputs} has no output of id {name!r}, which {questions.name} has.")
        seen.add(name)
        record = parse_record(task, question, golds.get(name), str(questions), split)
        with_query += record.query is not None
        yield record
    if surplus := golds.keys() - seen:
        raise InputError(f"{questions} has no record of id {min(surplus)!r}, which {outputs} has.")
    if not with_query:
        raise InputError(
            f"No record of {questions} reads like a query of task {task.name!r}; is it another task's?"
        )


def _check_schema(question: Mapping[str, Any], where: str) -> None:
    if not isinstance(question.get("input"), str):
        raise InputError(f"{where} has no text under the key 'input'; its keys are: {', '.join(question)}.")
    profile = question.get("profile")
    if not isinstance(profile, list) or not all(isinstance(entry, dict) for entry in profile):
        raise InputError(f"{where} has no list of objects under the key 'profile'.")


def _profile_item(task: Task, layout: Layout, entry: Mapping[str, Any]) -> Item:
    label = label_of(task, entry.get(layout.label_key)) if layout.label_key else None
    return Item(_clean((str(entry.get(layout.text_key) or ""),)), label)


def _clean(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Single spaces: the same article must be one text wherever it stands."""
    return tuple(" ".join(text.split()) for text in texts)
