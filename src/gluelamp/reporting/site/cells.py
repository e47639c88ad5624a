"""All runs of one method in one setting on one task: what a cell of the page opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.site.commands import command
from gluelamp.reporting.site.families import Family, family_of

Key = tuple[str, str, str, str]
"""Data, backbone, method with its variant, and task."""
_KEY = ["data", "backbone", "variant", "task"]


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
            content, seed = getattr(record, section), str(record.config.seed)
            same = next((seeds for other, seeds in found if other == content), None)
            if same is None:
                found.append((content, [seed]))
            else:
                same.append(seed)
        return [("" if len(found) == 1 else f"seed {', '.join(seeds)}", content) for content, seeds in found]


def run_cells(rows: pd.DataFrame, runs: Sequence[FoundRun], root: Path) -> dict[Key, RunCell]:
    """Return the cells of complete runs.

    Args:
        rows: of :func:`gluelamp.reporting.summary.summarise`.
        runs: all runs.
        root: the results folder, in which the page will lie.
    """
    records = dict(runs)
    folders = rows.drop_duplicates(_KEY).sort_values(_KEY, ignore_index=True)
    cells = {}
    for number, (*key, of_seeds) in enumerate(folders[[*_KEY, "folders"]].itertuples(index=False), 1):
        seeds = [records[folder] for folder in of_seeds]
        links = [f"{folder.relative_to(root).as_posix()}/record.json" for folder in of_seeds]
        cells[tuple(key)] = RunCell(f"cell-{number}", tuple(key), seeds, links, command(seeds))
    return cells
