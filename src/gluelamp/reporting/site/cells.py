"""All runs of one method in one setting on one task: what a cell of the page opens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.aggregation import data_label
from gluelamp.reporting.site.commands import command
from gluelamp.reporting.site.families import Family, family_of
from gluelamp.reporting.variants import settings_of, table_labels

Key = tuple[str, str, str, str]
"""Data, backbone, method with its variant, and task."""


@dataclass(frozen=True)
class RunCell:
    """All seeds of one method in one setting on one task.

    Args:
        slug: its name in the page.
        key: which runs these are.
        records: one a seed, in the order of seeds.
        links: from the page to their records.
        command: trains them all again.
    """

    slug: str
    key: Key
    records: Sequence[RunRecord]
    links: Sequence[str]
    command: str

    @property
    def record(self) -> RunRecord:
        """The first record; in sizes, setting and metric it speaks for all."""
        return self.records[0]

    @property
    def family(self) -> Family:
        """The method's family."""
        return family_of(self.record)

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration that all seeds share."""
        return {key: value for key, value in self.record.config_dict().items() if key != "seed"}

    def facts(self, section: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return what the records hold in a section: each content once, with the seeds that have it."""
        found: list[tuple[Mapping[str, Any], list[str]]] = []
        for record in self.records:
            content, seed = getattr(record, section), str(record.config["seed"])
            same = next((seeds for other, seeds in found if other == content), None)
            if same is None:
                found.append((content, [seed]))
            else:
                same.append(seed)
        return [("" if len(found) == 1 else f"seed {', '.join(seeds)}", content) for content, seeds in found]


def run_cells(runs: Sequence[FoundRun], root: Path, configs: Path) -> dict[Key, RunCell]:
    """Return the cells of complete runs.

    Args:
        runs: complete runs.
        root: the results folder, in which the page will lie.
        configs: the folder of the configuration files.
    """
    groups: dict[Key, list[FoundRun]] = defaultdict(list)
    for key, run in zip(_keys([record for _, record in runs]), runs, strict=True):
        groups[key].append(run)
    return dict(_cells(groups, root, configs))


def _cells(
    groups: Mapping[Key, Sequence[FoundRun]], root: Path, configs: Path
) -> Iterator[tuple[Key, RunCell]]:
    for number, key in enumerate(sorted(groups), 1):
        found = sorted(groups[key], key=lambda run: run[1].config["seed"])
        records = [record for _, record in found]
        links = [f"{folder.relative_to(root).as_posix()}/record.json" for folder, _ in found]
        yield key, RunCell(f"cell-{number}", key, records, links, command(records))


def _keys(records: Sequence[RunRecord]) -> list[Key]:
    names = [
        (data_label(record), *(str(record.config[part]["name"]) for part in ("backbone", "method", "task")))
        for record in records
    ]
    runs = zip(names, records, strict=True)
    labels = table_labels([(name[:2], name[2], settings_of(record)) for name, record in runs])
    return [
        (data, backbone, label, task) for (data, backbone, _, task), label in zip(names, labels, strict=True)
    ]
