"""All claims in one table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gluelamp.records import Certificate, Measurement
from gluelamp.reporting.aggregation import SAMPLE
from gluelamp.reporting.claims.claim import VERDICTS
from gluelamp.reporting.claims.hiwi import hiwi_claim
from gluelamp.reporting.claims.latency import latency_claims
from gluelamp.reporting.claims.pafi import pafi_claims
from gluelamp.reporting.claims.xpeft import accuracy_claims, bytes_claim
from gluelamp.reporting.pages import Grid, Page

_READING = (
    "The papers' claims, each with what decides it and on what scale. A verdict holds for that scale alone: "
    "for its backbone, its tasks and its number of seeds.",
    "Differences of scores are in points with their 95 % interval, means over the tasks named, paired by "
    "example; *better* and *worse* are where p < 0.05 after Holm's correction, else it is a *tie*, "
    "which is not a proof that two methods are equal: the interval says how far apart they may be. With *one "
    "seed* there is no such word: the interval is over examples alone, and another seed may turn it round.",
)


def claim_rows(
    sparse: pd.DataFrame,
    xpeft: pd.DataFrame,
    certificates: Sequence[Certificate],
    counted: Sequence[Measurement],
    written: Sequence[Measurement],
    xpeft_bytes: Sequence[Measurement],
) -> pd.DataFrame:
    """Return one row a claim and scale: ``claim``, ``verdict``, ``evidence`` and ``scale``.

    Args:
        sparse: of :func:`gluelamp.reporting.sparse_table.sparse_rows`.
        xpeft: of :func:`gluelamp.reporting.xpeft_table.xpeft_rows`.
        certificates: all.
        counted: measurements of kind ``parameters``.
        written: of kind ``storage``.
        xpeft_bytes: of kind ``xpeft_bytes``.
    """
    claims = [
        *pafi_claims(_on_benchmark(sparse)),
        hiwi_claim(counted, written),
        *latency_claims(certificates),
        *accuracy_claims(_on_benchmark(xpeft)),
        bytes_claim(xpeft_bytes),
    ]
    columns = ["claim", "verdict", "evidence", "scale"]
    return pd.DataFrame([vars(claim) for claim in claims])[columns]


def claims_page(rows: pd.DataFrame) -> Page:
    """Return the page of :func:`claim_rows`."""
    cells = rows.assign(verdict=[f"**{verdict}**" for verdict in rows["verdict"]])
    used = set(rows["verdict"])
    notes = [f"*{verdict}*: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in used]
    return Page("claims", "Claims and verdicts", _READING, rows, [Grid("", cells, texts=4, notes=notes)])


def _on_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """What says something of GLUE: the sample is synthetic."""
    return rows[~rows["data"].str.startswith(SAMPLE)] if len(rows) else rows
