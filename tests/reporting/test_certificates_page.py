"""The table of certificates, from the committed ones and from one that failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gluelamp.records import find_certificates
from gluelamp.reporting.measurements import certificates_page
from gluelamp.reporting.rendering.tables import plain

COMMITTED = Path(__file__).parents[2] / "results" / "reference"
PAFI = next(one for one in find_certificates(COMMITTED) if one.method == "pafi")


def test_a_row_says_what_was_compared_and_timed() -> None:
    (table,) = certificates_page([PAFI]).tables
    (cells,) = table.rows
    row = {column.title: plain(cell) for column, cell in zip(table.columns, cells, strict=True)}
    assert [row[name] for name in ("method", "state", "verdict")] == ["pafi", "merged", "PASS"]
    assert {row[name] for name in ("modules", "tensors", "operators", "flops")} == {"same"}
    ratio = PAFI.ratio
    assert row["ratio"] == f"{ratio['estimate']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    assert int(row["attempts"]) == len(PAFI.attempts)


def test_a_part_that_differs_shows_both_numbers_or_that_it_differs() -> None:
    operators = {**PAFI.structure["operators"], "candidate": 1349, "base": 337}
    tensors = {**PAFI.structure["tensors"], "first_difference": "another shape"}
    structure = {**PAFI.structure, "operators": operators, "tensors": tensors}
    failed = replace(PAFI, verdict="FAIL", state="unmerged", structure=structure)
    rows = certificates_page([PAFI, failed]).data
    assert rows["state"].tolist() == ["merged", "unmerged"]
    assert rows["operators"].tolist() == ["same", "337 / 1,349"]
    assert rows["tensors"].tolist() == ["same", "differ"]
