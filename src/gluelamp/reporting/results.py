"""The records of a results folder, and the tables made from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from gluelamp.records import (
    MEASUREMENT_COLUMNS,
    Certificate,
    FoundRun,
    Measurement,
    find_certificates,
    find_measurements,
    find_runs,
)
from gluelamp.reporting.claims import claim_rows, claims_page
from gluelamp.reporting.entries import entries
from gluelamp.reporting.lamp import has_persons, lamp_rows
from gluelamp.reporting.lamp_page import lamp_page
from gluelamp.reporting.main_page import main_page
from gluelamp.reporting.main_table import main_rows
from gluelamp.reporting.measurements import certificates_page, measurement_pages
from gluelamp.reporting.pages import Page
from gluelamp.reporting.published import PublishedCount, closest_scores, read_counts
from gluelamp.reporting.sparse_table import sparse_page, sparse_rows
from gluelamp.reporting.xpeft_table import xpeft_page, xpeft_rows


@dataclass(frozen=True)
class Results:
    """What lies below a results folder, each read and worked out once.

    Args:
        root: the results folder.
        published: the folder of the papers' numbers.
    """

    root: Path
    published: Path

    @cached_property
    def runs(self) -> list[FoundRun]:
        """All runs."""
        return find_runs(self.root)

    @cached_property
    def measurements(self) -> dict[str, list[Measurement]]:
        """All measurements, by kind."""
        return {kind: find_measurements(self.root, kind) for kind in MEASUREMENT_COLUMNS}

    @cached_property
    def certificates(self) -> list[Certificate]:
        """All certificates of zero added latency."""
        return find_certificates(self.root)

    @cached_property
    def counts(self) -> list[PublishedCount]:
        """What papers print of sizes."""
        return read_counts(self.published / "counts" / "parameters.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """What papers print of scores."""
        return closest_scores(self.published)

    @cached_property
    def sparse(self) -> pd.DataFrame:
        """The rows of the comparison of sparse masks."""
        return sparse_rows(self.runs)

    @cached_property
    def xpeft(self) -> pd.DataFrame:
        """The rows of X-PEFT's table."""
        return xpeft_rows(self.runs, self.measurements["xpeft_bytes"])

    @cached_property
    def main(self) -> pd.DataFrame:
        """The rows of PaFi and HiWi's main table."""
        return main_rows(self.runs, self.measurements["parameters"], self.scores, self.counts)

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims and their verdicts."""
        otherwise = {
            selection: (sparse_rows(self.runs, selection), xpeft_rows(self.runs, [], selection))
            for selection in ("best", "last")
        }
        return claim_rows(
            self.sparse,
            self.xpeft,
            self.certificates,
            self.measurements["parameters"],
            self.measurements["storage"],
            self.measurements["xpeft_bytes"],
            otherwise,
        )

    def pages(self) -> Iterator[Page]:
        """Yield the claims, the papers' tables and those of measurements, of which there are records."""
        has_scores = bool(entries(self.runs))
        if has_scores or self.certificates or any(self.measurements.values()):
            yield claims_page(self.claims)
        if has_scores:
            yield main_page(self.main)
        if len(self.sparse):
            yield sparse_page(self.sparse)
        if len(self.xpeft):
            yield xpeft_page(self.xpeft, self.scores)
        if persons := [run for run in self.runs if has_persons(run[1])]:
            complete = [run for run in persons if run[1].status == "complete"]
            failed = [record for _, record in persons if record.status == "failed"]
            yield lamp_page(lamp_rows(complete), failed)
        yield from measurement_pages(self.measurements, self.counts)
        if self.certificates:
            yield certificates_page(self.certificates)
