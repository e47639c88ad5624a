"""What the page says, gathered from the records of a results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.reporting.measurements import measurement_rows
from gluelamp.reporting.rendering import Page, Table
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.cells import Key, RunCell, run_cells
from gluelamp.reporting.site.panels import Panels, latency_panels
from gluelamp.reporting.site.sections import Section, section
from gluelamp.reporting.summary import common_settings
from gluelamp.reporting.tables import failed_runs


@dataclass(frozen=True)
class Contents:
    """All that the page shows.

    Args:
        runs: how many were completed.
        claims: with their verdicts; None where nothing is known.
        sections: scores, by source of data and backbone.
        lamp: the tables of tasks with persons; None where no such task was learnt.
        latencies: charts, by backbone and machine.
        pages: the other tables of the results folder.
        failures: one row a run that failed, on tasks without persons.
        cells: what scores open.
    """

    runs: int
    claims: Page | None
    sections: Sequence[Section]
    lamp: Page | None
    latencies: Sequence[Panels]
    pages: Sequence[Page]
    failures: Table
    cells: Sequence[RunCell]

    @cached_property
    def panels(self) -> dict[str, Panels]:
        """All groups of charts, by the names of their figures."""
        of_scores = {f"{part.slug}-{some.name}": some for part in self.sections for some in part.panels}
        return of_scores | {f"latency-{some.name}": some for some in self.latencies}


def gather(results: Results, configs: Path) -> Contents:
    """Return what the page says of a results folder.

    Args:
        results: of the folder.
        configs: the folder of the configuration files.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    cells = run_cells(results.accuracy, results.runs, results.root)
    pages = {page.name: page for page in results.pages()}
    claims, lamp = pages.pop("claims", None), pages.pop("lamp", None)
    if not (results.runs or pages):
        raise InputError(f"There are no records in {results.root}.")
    timed = results.measurements["latency"]
    return Contents(
        runs=sum(record.status == "complete" for _, record in results.runs),
        claims=claims,
        sections=_sections(results.accuracy, cells),
        lamp=lamp,
        latencies=list(latency_panels(measurement_rows(timed))) if timed else [],
        pages=list(pages.values()),
        failures=failed_runs(results.failed(with_users=False)),
        cells=list(cells.values()),
    )


def _sections(rows: pd.DataFrame, cells: Mapping[Key, RunCell]) -> list[Section]:
    scores = common_settings(rows.assign(label=rows["method"]))
    return [
        section(scope, cells, rows[(rows["data"] == data) & (rows["backbone"] == backbone)])
        for (data, backbone), scope in scores.groupby(["data", "backbone"])
    ]
