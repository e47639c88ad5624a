"""The runs that a cell of the page opens: all seeds of one method in one setting on one task."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gluelamp.records import FoundRun, RunRecord
from gluelamp.reporting.site.families import FAMILIES, Family

SECTIONS = {
    "versions": "Versions",
    "data": "Data",
    "protocol": "Protocol",
    "parameters": "Parameters",
    "bytes": "Bytes",
    "device": "Machine",
    "git": "Source code",
}
"""Titles of the sections of a record that are shown in full."""


@dataclass(frozen=True)
class RunGroup:
    """All seeds of one method in one setting on one task.

    Args:
        slug: its name in the page.
        data: label of the data.
        backbone: the name.
        method: the name, with what distinguishes its setting.
        task: the name.
        records: one per seed, in the order of seeds.
        links: from the page to the records' files.
    """

    slug: str
    data: str
    backbone: str
    method: str
    task: str
    records: Sequence[RunRecord]
    links: Sequence[str]

    @property
    def record(self) -> RunRecord:
        """The first record; sizes, settings and metrics are those of all."""
        return self.records[0]

    @property
    def family(self) -> Family:
        """The method's family."""
        return FAMILIES.get(self.record.family or "", FAMILIES["other"])

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration of all seeds."""
        return {key: value for key, value in self.record.config_dict().items() if key != "seed"}

    @property
    def command(self) -> str:
        """The command line that trains all seeds again.

        Records of earlier releases do not hold the words of their command line. For them, the command names
        backbone, method, task and data, without other settings.
        """
        config, data = self.record.config, self.record.data
        names = [f"{part}={getattr(config, part).name}" for part in ("backbone", "method", "task")]
        words = self.record.overrides or [*names, f"data={data.source}"]
        # Hydra's multirun trains one run per seed.
        sweep = ["-m"] if len(self.records) > 1 else []
        seeds = ",".join(str(record.config.seed) for record in self.records)
        return shlex.join(["python", "scripts/train.py", *sweep, *words, f"seed={seeds}"])

    def facts(self, section: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the different contents of a section of the records, each with the seeds that have it."""
        seeds: dict[str, list[str]] = {}
        for record in self.records:
            # Only what the file holds: a default would look like a recorded value.
            dumped = record.model_dump(mode="json", include={section}, exclude_unset=True)
            seeds.setdefault(json.dumps(dumped.get(section)), []).append(str(record.config.seed))
        return [
            ("" if len(seeds) == 1 else f"seed {', '.join(having)}", json.loads(content))
            for content, having in seeds.items()
        ]


def run_groups(summary: pd.DataFrame, runs: Sequence[FoundRun], root: Path) -> dict[Path, RunGroup]:
    """Return the group of each run, by the run's folder.

    Args:
        summary: of `gluelamp.reporting.summary.summarise`.
        runs: all runs.
        root: the results folder, in which the page is written.
    """
    records = dict(runs)
    # Every complete run has a score after its last epoch: one row per group.
    rows = summary[summary["is_main"].astype(bool) & (summary["selection"] == "last")]
    keys = ["data", "backbone", "variant", "task"]
    groups: dict[Path, RunGroup] = {}
    for number, row in enumerate(rows.sort_values(keys).to_dict("records"), start=1):
        folders = row["folders"]
        links = [f"{folder.relative_to(root).as_posix()}/record.json" for folder in folders]
        data, backbone, method, task = (row[key] for key in keys)
        members = [records[folder] for folder in folders]
        group = RunGroup(f"runs-{number}", data, backbone, method, task, members, links)
        groups |= dict.fromkeys(folders, group)
    return groups
