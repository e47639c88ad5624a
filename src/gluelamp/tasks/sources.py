"""The sources of GLUE-shaped rows: a folder or the Hugging Face hub.

A folder holds a prepared copy, files in the hub's layout, or the official TSV files. A prepared copy has a
manifest with the source of each task and a checksum of each file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from gluelamp.errors import InputError
from gluelamp.io import atomic_write, file_sha256, user_path
from gluelamp.tasks.files import read_jsonl, read_parquet, read_tsv
from gluelamp.tasks.tables import Reading, Table, numbered
from gluelamp.tasks.task import Source, Task

_MANIFEST = "manifest.json"
_STRICT = ConfigDict(extra="forbid")
_READERS = {".jsonl": read_jsonl, ".parquet": read_parquet}
_PAIR = ("sentence1", "sentence2")
_MRPC = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
_MRPC_IDS = {"id1": "#1 ID", "id2": "#2 ID"}
_SHARD = re.compile(r"(?P<split>\w+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.parquet|\.jsonl)")


@dataclass(frozen=True)
class _OfficialFiles:
    """The official TSV files of one task, in a folder of ``glue_data``."""

    folder: str
    texts: tuple[str, ...]
    label: str = "label"
    header: tuple[str, ...] | None = None  # for train and dev files without a line of column names
    skip_short_rows: bool = False


_OFFICIAL = {
    "cola": _OfficialFiles("CoLA", ("sentence",), header=("source", "label", "author mark", "sentence")),
    "sst2": _OfficialFiles("SST-2", ("sentence",)),
    # Some official QQP rows are cut off. The hub omits them, but counts them in `idx`.
    "qqp": _OfficialFiles("QQP", ("question1", "question2"), label="is_duplicate", skip_short_rows=True),
    "stsb": _OfficialFiles("STS-B", _PAIR, label="score"),
    "mnli": _OfficialFiles("MNLI", _PAIR, label="gold_label"),
    "qnli": _OfficialFiles("QNLI", ("question", "sentence")),
    "rte": _OfficialFiles("RTE", _PAIR),
    "wnli": _OfficialFiles("WNLI", _PAIR),
    "ax": _OfficialFiles("diagnostic", _PAIR),
}


@validated(frozen=True, config=_STRICT)
class PreparedTask:
    """One task of a prepared folder.

    Args:
        source: the source of the rows when they were prepared.
        revision: the hub's commit, where it is known.
        fingerprint: sha256 over the content, as in TaskData.
        rows: number of rows per split.
        deviations: differences from the official splits, one sentence each.
        files: sha256 (hexadecimal) per file, named relative to the folder.
    """

    source: Source
    revision: str | None
    fingerprint: str
    rows: dict[str, int]
    deviations: tuple[str, ...]
    files: dict[str, str]


@validated(frozen=True, config=_STRICT)
class Manifest:
    """All tasks of a prepared folder, by name."""

    tasks: dict[str, PreparedTask]
    version: Literal[1] = 1


_MANIFEST_ADAPTER = TypeAdapter(Manifest)


def data_root(root: str | None, default: Path) -> Path:
    """Return the folder with local data: the given one, else $GLUELAMP_DATA, else the default."""
    return user_path(root or os.environ.get("GLUELAMP_DATA") or default)


def read_local(task: Task, root: Path, avoid: Path | None = None) -> Reading | None:
    """Read one task from a folder, or from ``glue`` or ``glue_data`` inside it.

    Args:
        task: the declaration.
        root: the folder.
        avoid: a folder that must not be read, because it will be overwritten.

    Returns:
        The splits that are present; None if the folder holds nothing of this task. A prepared copy of
        the bundled sample has the source ``"sample"``.

    Raises:
        InputError: if a file is broken or differs from the prepared one.
    """
    for folder in (root, root / "glue", root / "glue_data"):
        if avoid and folder.resolve() == avoid.resolve():
            continue
        # A prepared copy has checksums and its own source label, so it is preferred to loose files.
        if prepared := read_prepared(task, folder):
            return prepared
        if tables := read_tables(find_split_files(folder / task.name, task.splits)) or _read_official(
            task, folder
        ):
            return Reading(tables, "local", str(folder))
    return None


def read_prepared(task: Task, folder: Path) -> Reading | None:
    """Return the splits of one task that `gluelamp.tasks.data.prepare` wrote to a folder; None if it did not.

    Args:
        task: the declaration.
        folder: the folder with the manifest.

    Raises:
        InputError: if a file is broken or differs from the prepared one.
    """
    prepared = read_manifest(folder).tasks.get(task.name)
    if prepared is None:
        return None
    # A copy of the sample must not pass as local data. Copies of hub or local data are local.
    source: Source = "sample" if prepared.source == "sample" else "local"
    tables = read_tables(_checked_files(folder, prepared))
    return Reading(tables, source, str(folder), prepared.revision, prepared.deviations)


def read_manifest(folder: Path) -> Manifest:
    """Return the folder's manifest; one without tasks where there is none.

    Raises:
        InputError: if the file is not a manifest of this version.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        return Manifest({})
    try:
        return _MANIFEST_ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path} is not a manifest that this version can read. "
            f"Delete the folder and run prepare again. ({error.errors()[0]['msg']})"
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder atomically."""
    with atomic_write(folder / _MANIFEST) as partial:
        partial.write_bytes(_MANIFEST_ADAPTER.dump_json(manifest, indent=2) + b"\n")


def _checked_files(folder: Path, prepared: PreparedTask) -> dict[str, list[Path]]:
    """Return the files of a task by split, after a check that each is unchanged.

    Raises:
        InputError: if a file is missing or its checksum is not the recorded one.
    """
    for name, checksum in prepared.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing, but {_MANIFEST} lists it; run prepare again.")
        if file_sha256(path) != checksum:
            raise InputError(
                f"{path} was changed or truncated: its sha256 is not that of {_MANIFEST}; run prepare again."
            )
    return {Path(name).stem: [folder / name] for name in prepared.files}


def read_tables(files: Mapping[str, Sequence[Path]]) -> dict[str, Table]:
    """Read the files of each split, JSON lines or Parquet; the shards of a split follow one another."""
    return {split: _joined([_READERS[path.suffix](path) for path in paths]) for split, paths in files.items()}


def _joined(shards: Sequence[Table]) -> Table:
    if len(shards) == 1:
        return shards[0]
    # Messages name the row and its shard: "cola, row 3 of train-00001-of-00002.parquet".
    parts = [
        shard.rows.set_axis([f"{row} of {Path(shard.origin).name}" for row in shard.rows.index])
        for shard in shards
    ]
    return Table(pd.concat(parts), str(Path(shards[0].origin).parent), shards[0].unit)


def find_split_files(folder: Path, splits: Iterable[str]) -> dict[str, list[Path]]:
    """Return the files in the hub's layout by split: ``cola/train.jsonl``, or all shards in order.

    Args:
        folder: of one task.
        splits: those that are looked for; the others are ignored.

    Raises:
        InputError: if a split is there twice, or a shard of it is missing.
    """
    files = {split: _split_files(folder, split) for split in splits}
    return {split: paths for split, paths in files.items() if paths}


def _split_files(folder: Path, split: str) -> list[Path]:
    names = {split, split.removesuffix("_matched")}  # MNLI: a plain `validation` is the matched one
    paths = [folder / f"{name}{suffix}" for name in sorted(names) for suffix in _READERS]
    copies = [[path] for path in paths if path.is_file()] + _sharded(folder, names)
    if len(copies) > 1:
        first, second = copies[0][0], copies[1][0]
        raise InputError(f"{first} and {second} both hold the split {split}; remove one of them.")
    return copies[0] if copies else []


def _sharded(folder: Path, names: Collection[str]) -> list[list[Path]]:
    """Return each set of shards of a split with one of these names: ``train-00000-of-00002.parquet``, ..."""
    found = [match for path in sorted(folder.glob("*-of-*")) if (match := _SHARD.fullmatch(path.name))]
    copies = []
    for name, count, suffix in dict.fromkeys(match.group("split", "count", "suffix") for match in found):
        if name in names:
            shards = [folder / f"{name}-{number:05}-of-{count}{suffix}" for number in range(int(count))]
            if missing := [path.name for path in shards if not path.is_file()]:
                raise InputError(
                    f"{folder} lacks {', '.join(missing[:3])} of {int(count)} shards. Download them."
                )
            copies.append(shards)
    return copies


def _read_official(task: Task, root: Path) -> dict[str, Table]:
    """Read the splits in the official layout, with the hub's column names; empty if nothing is there."""
    if task.name == "mrpc":
        return _read_official_mrpc(root / "MRPC")
    files = _OFFICIAL.get(task.name)
    if files is None:
        return {}
    paths = {split: root / files.folder / _official_name(task, split) for split in task.splits}
    return {split: _read_tsv(path, task, files, split) for split, path in paths.items() if path.is_file()}


def _official_name(task: Task, split: str) -> str:
    return "diagnostic.tsv" if task.name == "ax" else split.replace("validation", "dev") + ".tsv"


def _read_tsv(path: Path, task: Task, files: _OfficialFiles, split: str) -> Table:
    columns = dict(zip(task.text_columns, files.texts, strict=True))
    if split in task.test_splits:
        return read_tsv(path, columns)
    return read_tsv(path, columns | {"label": files.label}, files.header, files.skip_short_rows)


def _read_official_mrpc(folder: Path) -> dict[str, Table]:
    # Microsoft has two files. The dev rows are part of the training file; GLUE lists the ids of their pairs.
    train, test = folder / "msr_paraphrase_train.txt", folder / "msr_paraphrase_test.txt"
    dev_ids, dev = folder / "dev_ids.tsv", folder / "dev.tsv"
    tables = {}
    if train.is_file() and (dev_ids.is_file() or not dev.is_file()):
        both = read_tsv(train, _MRPC | _MRPC_IDS)
        ids = read_tsv(dev_ids, {"id1": "id1", "id2": "id2"}, ("id1", "id2"))
        dev_pairs = pd.MultiIndex.from_frame(ids.rows[["id1", "id2"]])
        in_dev = pd.MultiIndex.from_frame(both.rows[["id1", "id2"]]).isin(dev_pairs)
        tables["train"] = replace(both, rows=both.rows[~in_dev])
        tables["validation"] = replace(both, rows=both.rows[in_dev])
    if test.is_file():
        tables["test"] = read_tsv(test, _MRPC)
    # Copies of GLUE have a file for each split instead, or as well.
    for split, path in {
        "train": folder / "train.tsv",
        "validation": dev,
        "test": folder / "test.tsv",
    }.items():
        if split not in tables and path.is_file():
            tables[split] = read_tsv(path, _MRPC, optional=["label"] if split == "test" else [])
    return tables


class HubUnavailableError(InputError):
    """The hub did not answer in time, or the task is not on it."""


def read_hub(repository: str, name: str | None, revision: str | None, timeout_s: float) -> Reading:
    """Download one task, or take it from the ``datasets`` cache.

    Args:
        repository: such as ``"nyu-mll/glue"``.
        name: of the task's configuration in the repository; None if it has one only.
        revision: branch, tag or commit of the repository; None takes its newest commit.
        timeout_s: how long to wait for the hub's first answer, in seconds.

    Raises:
        HubUnavailableError: if the hub does not answer.
        InputError: if it answers and the revision or the download fails.
    """
    # Resolve the branch first: the record stores the commit, and a short request detects a missing network.
    commit = _commit(repository, revision, timeout_s)
    place = f"{repository} at {commit}"
    import datasets  # a slow import, needed only if the hub has answered

    try:
        splits = datasets.load_dataset(repository, name, revision=commit)
    except Exception as error:  # network and file system libraries raise exceptions of many types
        raise InputError(f"{name or repository} could not be read from {place}: {error}") from error
    tables = {
        split: Table(numbered(rows.to_pandas()), f"{place}, {name or repository}/{split}")
        for split, rows in splits.items()
    }
    return Reading(tables, "hub", place, commit)


def _commit(repository: str, revision: str | None, timeout_s: float) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        return str(HfApi().dataset_info(repository, revision=revision, timeout=timeout_s).sha)
    except RevisionNotFoundError as error:
        raise InputError(f"{repository} has no revision {revision!r} on the hub.") from error
    except Exception as error:  # the HTTP library differs between versions of huggingface_hub
        raise HubUnavailableError(
            f"The Hugging Face hub did not answer within {timeout_s:g} s ({error}). "
            "Prepare a local copy on a machine with a network, or set data.source=sample."
        ) from error
