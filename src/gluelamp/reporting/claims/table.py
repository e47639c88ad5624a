"""All claims in one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from gluelamp.records import Certificate, Measurement
from gluelamp.reporting.aggregation import SAMPLE
from gluelamp.reporting.claims.claim import NOT_MEASURED, VERDICTS, Claim
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
    "seed* there is no such word: the interval is over examples alone, and another seed may turn it round. "
    "Behind it stands what the verdict would be by another choice of the epoch.",
)


def claim_rows(
    sparse: pd.DataFrame,
    xpeft: pd.DataFrame,
    certificates: Sequence[Certificate],
    counted: Sequence[Measurement],
    written: Sequence[Measurement],
    xpeft_bytes: Sequence[Measurement],
    otherwise: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
) -> pd.DataFrame:
    """Return one row a claim and scale: ``claim``, ``verdict``, ``evidence`` and ``scale``.

    Args:
        sparse: of :func:`gluelamp.reporting.sparse_table.sparse_rows`.
        xpeft: of :func:`gluelamp.reporting.xpeft_table.xpeft_rows`.
        certificates: all.
        counted: measurements of kind ``parameters``.
        written: of kind ``storage``.
        xpeft_bytes: of kind ``xpeft_bytes``.
        otherwise: by other selections of the epoch, such as ``"last"``, ``sparse`` and ``xpeft`` of the same
            runs.
    """
    claims = [
        *_by_epoch(pafi_claims, sparse, {name: masks for name, (masks, _) in otherwise.items()}),
        hiwi_claim(counted, written),
        *latency_claims(certificates),
        *_by_epoch(accuracy_claims, xpeft, {name: profiles for name, (_, profiles) in otherwise.items()}),
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


def _by_epoch(
    judge: Callable[[pd.DataFrame], Iterable[Claim]],
    rows: pd.DataFrame,
    otherwise: Mapping[str, pd.DataFrame],
) -> Iterator[Claim]:
    """The claims on rows, each with the verdicts that it would have on those of other selections."""
    others = [[one.verdict for one in judge(_on_benchmark(some))] for some in otherwise.values()]
    for claim, *verdicts in zip(judge(_on_benchmark(rows)), *others, strict=True):
        told = [f"by the {name} epoch: {verdict}" for name, verdict in zip(otherwise, verdicts, strict=True)]
        note = f" {'; '.join(told).capitalize()}." if told and claim.verdict != NOT_MEASURED else ""
        yield replace(claim, evidence=claim.evidence + note)


def _on_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """What says something of GLUE: the sample is synthetic."""
    return rows[~rows["data"].str.startswith(SAMPLE)] if len(rows) else rows
