"""What the page says, gathered from the records of a results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gluelamp.errors import InputError
from gluelamp.records import FoundRun
from gluelamp.reporting.aggregation import summarise
from gluelamp.reporting.entries import entries
from gluelamp.reporting.lamp import has_persons
from gluelamp.reporting.measurements import measurement_rows
from gluelamp.reporting.pages import Page, failures
from gluelamp.reporting.published import read_published
from gluelamp.reporting.rendering import Table
from gluelamp.reporting.results import Results
from gluelamp.reporting.site.cells import Key, RunCell, run_cells
from gluelamp.reporting.site.panels import Panels, latency_panels
from gluelamp.reporting.site.sections import Section, section


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
    runs = [run for run in results.runs if not has_persons(run[1])]
    complete = [run for run in runs if run[1].status == "complete"]
    cells = run_cells(complete, results.root, configs)
    pages = {page.name: page for page in results.pages()}
    claims, lamp = pages.pop("claims", None), pages.pop("lamp", None)
    if not (results.runs or pages):
        raise InputError(f"No records stand below {results.root}: there is nothing to report.")
    timed = results.measurements["latency"]
    return Contents(
        runs=sum(record.status == "complete" for _, record in results.runs),
        claims=claims,
        sections=_sections(complete, cells, results.published),
        lamp=lamp,
        latencies=list(latency_panels(measurement_rows(timed))) if timed else [],
        pages=list(pages.values()),
        failures=failures([record for _, record in runs if record.status == "failed"]),
        cells=list(cells.values()),
    )


def _sections(runs: Sequence[FoundRun], cells: Mapping[Key, RunCell], published: Path) -> list[Section]:
    if not runs:
        return []
    rows = summarise(runs, read_published(published))
    return [
        section(some, cells, rows[(rows["data"] == data) & (rows["backbone"] == backbone)])
        for (data, backbone), some in entries(runs).items()
    ]
