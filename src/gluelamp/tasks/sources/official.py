"""The benchmark's own layout, ``glue_data/``: tab-separated files with names of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from gluelamp.tasks.sources.files import read_tsv
from gluelamp.tasks.sources.table import Table
from gluelamp.tasks.task import Task

_PAIR = ("sentence1", "sentence2")
_MRPC = {"sentence1": "#1 String", "sentence2": "#2 String", "label": "Quality"}
_MRPC_IDS = {"id1": "#1 ID", "id2": "#2 ID"}


@dataclass(frozen=True)
class _Layout:
    folder: str
    texts: tuple[str, ...]
    label: str = "label"
    header: tuple[str, ...] | None = None  # for train and dev files without a first line of names
    skip_short_rows: bool = False


_LAYOUTS = {
    "cola": _Layout("CoLA", ("sentence",), header=("source", "label", "author mark", "sentence")),
    "sst2": _Layout("SST-2", ("sentence",)),
    # Some official QQP rows are cut off; the hub leaves them out, but numbers the rows with them.
    "qqp": _Layout("QQP", ("question1", "question2"), label="is_duplicate", skip_short_rows=True),
    "stsb": _Layout("STS-B", _PAIR, label="score"),
    "mnli": _Layout("MNLI", _PAIR, label="gold_label"),
    "qnli": _Layout("QNLI", ("question", "sentence")),
    "rte": _Layout("RTE", _PAIR),
    "wnli": _Layout("WNLI", _PAIR),
    "ax": _Layout("diagnostic", _PAIR),
}


def read_official(task: Task, root: Path) -> dict[str, Table]:
    """Read the splits of one task that the folder holds in the official layout.

    Args:
        task: the declaration.
        root: the folder that holds ``CoLA``, ``SST-2`` and the others.

    Returns:
        One table per split, with the hub's column names; empty if nothing is there.

    Raises:
        InputError: if a file is malformed.
    """
    if task.name == "mrpc":
        return _read_mrpc(root / "MRPC")
    layout = _LAYOUTS.get(task.name)
    if layout is None:
        return {}
    paths = {split: root / layout.folder / _file_name(task, split) for split in task.splits}
    return {split: _read(path, task, layout, split) for split, path in paths.items() if path.is_file()}


def _file_name(task: Task, split: str) -> str:
    if task.name == "ax":
        return "diagnostic.tsv"
    return split.replace("validation", "dev") + ".tsv"


def _read(path: Path, task: Task, layout: _Layout, split: str) -> Table:
    columns = dict(zip(task.text_columns, layout.texts, strict=True))
    if split in task.test_splits:
        return read_tsv(path, columns)
    columns["label"] = layout.label
    return read_tsv(path, columns, layout.header, layout.skip_short_rows)


def _read_mrpc(folder: Path) -> dict[str, Table]:
    """Build three splits from Microsoft's two files: the dev rows are named by their two ids."""
    train, test = folder / "msr_paraphrase_train.txt", folder / "msr_paraphrase_test.txt"
    tables = {}
    if train.is_file():
        both = read_tsv(train, _MRPC | _MRPC_IDS)
        named = read_tsv(folder / "dev_ids.tsv", {"id1": "id1", "id2": "id2"}, ("id1", "id2"))
        dev_pairs = pd.MultiIndex.from_frame(named.rows[["id1", "id2"]])
        in_dev = pd.MultiIndex.from_frame(both.rows[["id1", "id2"]]).isin(dev_pairs)
        tables["train"] = replace(both, rows=both.rows[~in_dev])
        tables["validation"] = replace(both, rows=both.rows[in_dev])
    if test.is_file():
        tables["test"] = read_tsv(test, _MRPC)
    return tables
