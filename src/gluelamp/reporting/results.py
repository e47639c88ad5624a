"""The records of a results folder, and the tables that are written from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from gluelamp.errors import InputError
from gluelamp.io import write_text
from gluelamp.records import (
    MEASUREMENT_COLUMNS,
    Certificate,
    FoundRun,
    Measurement,
    RunRecord,
    find_certificates,
    find_measurements,
    find_runs,
)
from gluelamp.reporting.claims import claim_rows, claims_page
from gluelamp.reporting.measurements import certificates_page, measurement_pages
from gluelamp.reporting.published_counts import PublishedCount, read_counts
from gluelamp.reporting.published_scores import closest_scores, read_published
from gluelamp.reporting.rendering import Page, page_files
from gluelamp.reporting.scores import has_users, score_table
from gluelamp.reporting.statistics import ROC_AUC
from gluelamp.reporting.summary import SUPERGLUE_TASKS, summarise
from gluelamp.reporting.tables.accuracy import accuracy_page, accuracy_rows
from gluelamp.reporting.tables.lamp import lamp_page, lamp_rows
from gluelamp.reporting.tables.main import main_page, main_rows
from gluelamp.reporting.tables.matched_masks import matched_rows
from gluelamp.reporting.tables.reference import reference_page, reference_rows
from gluelamp.reporting.tables.search import search_page, search_rows, trial_rows
from gluelamp.reporting.tables.sparse_masks import sparse_page, sparse_rows
from gluelamp.reporting.tables.threshold_free import (
    in_metric,
    threshold_free_page,
    threshold_free_rows,
    with_threshold_free_scores,
)
from gluelamp.reporting.tables.xpeft import xpeft_page, xpeft_rows
from gluelamp.reporting.training_data import training_data_notes
from gluelamp.tasks.glue import GLUE


def recorded_words(folder: Path, record: RunRecord) -> Sequence[str]:
    """Return the words of a record or, if it is of an earlier release without them, the names in it."""
    names = [f"{part}={getattr(record.config, part).name}" for part in ("backbone", "method", "task")]
    return record.overrides or [*names, f"data={record.data.source}"]


@dataclass(frozen=True)
class Results:
    """The content of a results folder; each part is read and computed once.

    Args:
        root: the results folder.
        published: the folder of the papers' numbers.
        reference: another results folder, whose scores are compared with those of this one.
        words: returns the words of a command line that trains a run again, without the seed, from the folder
            and the record of the run.
    """

    root: Path
    published: Path
    reference: Path | None = None
    words: Callable[[Path, RunRecord], Sequence[str]] = recorded_words

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
        """Published sizes."""
        return read_counts(self.published / "counts" / "parameters.csv")

    @cached_property
    def published_scores(self) -> pd.DataFrame:
        """Published scores, the closest to this suite's protocol."""
        return closest_scores(self.published)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """All scores of complete runs."""
        return score_table(self.runs)

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """The scores over seeds, of tasks without users."""
        # The bootstrap of all predictions takes most of the time. Every table below reuses these rows.
        summary = summarise(with_threshold_free_scores(self.scores[~self.scores["has_users"]]))
        return accuracy_rows(summary, read_published(self.published))

    @cached_property
    def sparse(self) -> pd.DataFrame:
        """The rows of the comparison of sparse masks."""
        return sparse_rows(self.accuracy)

    @cached_property
    def xpeft(self) -> pd.DataFrame:
        """The rows of X-PEFT's table."""
        return xpeft_rows(self.accuracy, self.measurements["xpeft_bytes"])

    @cached_property
    def main(self) -> pd.DataFrame:
        """The rows of PaFi and HiWi's main table."""
        parameters = self.measurements["parameters"]
        return main_rows(self.accuracy, parameters, self.published_scores, self.counts)

    @cached_property
    def superglue(self) -> pd.DataFrame:
        """The rows of SuperGLUE's main table."""
        parameters = self.measurements["parameters"]
        return main_rows(self.accuracy, parameters, self.published_scores, self.counts, SUPERGLUE_TASKS)

    @cached_property
    def search(self) -> pd.DataFrame:
        """The rows of the search of the methods' options, whose trials have a folder of their own."""
        return search_rows(trial_rows(find_runs(self.root / "search")))

    @cached_property
    def against_reference(self) -> pd.DataFrame:
        """The scores of this folder and of the reference."""
        committed = find_runs(self.reference) if self.reference else []
        return reference_rows(self.accuracy, score_table(committed))

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims and their verdicts."""
        # A claim that holds only with the optimistic selection of the epoch, or at the threshold of the head,
        # should be visible as such.
        alternatives = {
            name: (sparse_rows(summary, selection), xpeft_rows(summary, [], selection))
            for name, summary, selection in (
                ("best", self.accuracy, "best"),
                ("last", self.accuracy, "last"),
                (ROC_AUC, in_metric(self.accuracy, ROC_AUC), "last"),
            )
        }
        return claim_rows(
            self.sparse,
            self.xpeft,
            self.certificates,
            self.measurements["parameters"],
            self.measurements["storage"],
            self.measurements["xpeft_bytes"],
            alternatives,
        )

    def failed(self, with_users: bool) -> list[RunRecord]:
        """Return the failed runs on tasks with users, or on the others."""
        failed = [record for _, record in self.runs if record.status == "failed"]
        return [record for record in failed if has_users(record) == with_users]

    def accuracy_page(self) -> Page | None:
        """Return the table of all scores of tasks without users; None without such runs."""
        failed = self.failed(with_users=False)
        return accuracy_page(self.accuracy, failed) if failed or len(self.accuracy) else None

    def pages(self) -> Iterator[Page]:
        """Yield the claims, the papers' tables and those of measurements, if they have records."""
        # Claims are listed even if they are not measured, but not in a folder without any evidence.
        has_scores = self.accuracy["task"].isin(GLUE).any()
        if has_scores or self.certificates or any(self.measurements.values()):
            yield claims_page(self.claims, training_data_notes(self.accuracy))
        if has_scores:
            yield main_page(self.main)
        if self.accuracy["task"].isin(SUPERGLUE_TASKS.averaged).any():
            yield main_page(self.superglue, SUPERGLUE_TASKS)
        threshold_free = threshold_free_rows(self.accuracy)
        if len(threshold_free):
            yield threshold_free_page(threshold_free)
        if len(self.sparse):
            yield sparse_page(self.sparse, matched_rows(self.accuracy))
        if len(self.xpeft):
            yield xpeft_page(self.xpeft, self.published_scores)
        with_users, failed = self.scores[self.scores["has_users"]], self.failed(with_users=True)
        if failed or len(with_users):
            yield lamp_page(lamp_rows(with_users), failed)
        yield from measurement_pages(self.measurements, self.counts)
        if self.certificates:
            yield certificates_page(self.certificates)
        if len(self.search):
            yield search_page(self.search)
        if len(self.against_reference):
            yield reference_page(self.against_reference)


def write_tables(results: Results) -> list[Path]:
    """Write all tables as CSV, Markdown and LaTeX.

    These are ``claims``, the papers' tables ``glue_main``, ``superglue_main``, ``sparse_masks`` and
    ``xpeft``, ``threshold_free`` (scores of tasks with two classes that need no decision threshold), one
    table per kind of measurement, ``certificates``, ``lamp`` (all scores of tasks with users),
    ``glue_accuracy`` (all scores of the other tasks) and ``reference`` (the differences to a reference).
    The same records give the same bytes. A table without
    records is not written.

    Args:
        results: of the folder, which has ``runs/``, ``measurements/`` or ``certificates/``.

    Returns:
        the files written, below ``tables/``.

    Raises:
        InputError: if there are no records, or if one cannot be read.
    """
    root = results.root
    accuracy = results.accuracy_page()
    pages = [*([accuracy] if accuracy else []), *results.pages()]
    if not pages:
        raise InputError(
            f"There are no records in {root}. Run `make reproduce-glue`, or a single run with "
            "`gluelamp train`, or a measurement with `gluelamp measure`."
        )
    # All pages are rendered before the first is written: after an error, the old tables are unchanged.
    files = {file: text for page in pages for file, text in page_files(root / "tables", page).items()}
    for file, text in files.items():
        write_text(file, text)
    return list(files)
