"""The end of a sweep or a report in the terminal: a table of its scores, and the paths of its files."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from gluelamp.package_data import REFERENCE

if TYPE_CHECKING:
    import pandas as pd

    from gluelamp.reporting.results import Results

# The folder in which each job of a sweep names its run. It is an environment variable, because that reaches
# the jobs of every launcher.
_SWEEP = "GLUELAMP_SWEEP"
_PARTS = {"tables": "tables", "page": "report.html", "runs": "runs"}  # of a results folder


def start_sweep(root: Path) -> None:
    """Note from now on which runs belong to the sweep, in this process and in those of its launcher.

    Args:
        root: the results folder.
    """
    folder = root / "hydra" / f"runs-{uuid4().hex}"
    folder.mkdir(parents=True)
    os.environ[_SWEEP] = str(folder)


def add_to_sweep(run: Path) -> None:
    """Note that a run is complete, if it is a job of a sweep.

    Args:
        run: its folder.
    """
    if _SWEEP in os.environ:
        # A file of its own for each run, because jobs may end at the same time on different machines.
        Path(os.environ[_SWEEP], run.name).write_text(str(run), encoding="utf-8")


def end_sweep() -> None:
    """Print the scores of the complete runs of the sweep, if there are some."""
    if _SWEEP not in os.environ:
        return
    folder = Path(os.environ.pop(_SWEEP))
    runs = sorted(Path(path.read_text(encoding="utf-8")) for path in folder.iterdir())
    shutil.rmtree(folder)
    if runs:
        from gluelamp.records import read_record
        from gluelamp.reporting.scores import is_trial, score_table

        root = folder.parents[1]
        found = [(run, read_record(run / "record.json")) for run in runs]
        print_scores(score_table(found))
        trials = sum(is_trial(record) for _, record in found)
        if trials:
            print_lines(f"{trials} trials of a search: a report compares them in the table `search`.")
        # the trials in results/search belong to the report of results
        reported = root.parent if root.name == "search" else root
        other = "" if reported == Path("results") else f" results.root={reported}"
        print_lines(f"runs: {root / 'runs'}", f"tables and page: run `gluelamp report{other}`")


def print_report(results: Results) -> None:
    """Print the scores of a results folder, their differences to the reference, and the paths of the files.

    Args:
        results: of the folder, whose tables or page are written.
    """
    from gluelamp.reporting.rendering.terminal import print_table
    from gluelamp.reporting.tables.reference import reference_page

    print_scores(results.scores, results.accuracy)
    if len(results.against_reference):
        for table in reference_page(results.against_reference).tables:
            print_table(table)
    if not REFERENCE.is_dir():
        print_lines("The project's own results are in a clone only, so there is no comparison with them.")
    paths = {name: results.root / part for name, part in _PARTS.items()}
    print_lines(*(f"{name}: {path}" for name, path in paths.items() if path.exists()))


def print_scores(scores: pd.DataFrame, summary: pd.DataFrame | None = None) -> None:
    """Print scores, one table per source of data, backbone and head.

    Args:
        scores: as of `gluelamp.reporting.tables.overview.overview_tables`.
        summary: the same.
    """
    from gluelamp.reporting.rendering.terminal import print_table
    from gluelamp.reporting.tables.overview import overview_tables

    for table in overview_tables(scores, summary):
        print_table(table)


def print_lines(*lines: str) -> None:
    """Print lines after an empty one, and break none of them: a path stays whole."""
    sys.stdout.write("\n" + "".join(f"{line}\n" for line in lines))
