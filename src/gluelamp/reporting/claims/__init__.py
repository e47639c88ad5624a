"""The papers' claims, one file per paper, and their table with evidence and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from gluelamp.records import Certificate, Measurement
from gluelamp.reporting.claims.claim import NOT_MEASURED, VERDICTS, Claim
from gluelamp.reporting.claims.pafi_hiwi import latency_claims, mask_claims, storage_claim
from gluelamp.reporting.claims.xpeft import accuracy_claims, bytes_claim
from gluelamp.reporting.labels import SELECTIONS
from gluelamp.reporting.rendering import Page, Table, Text, texts
from gluelamp.reporting.scores import SAMPLE

__all__ = ["Claim", "claim_rows", "claims_page"]

_READING = (
    "The papers' claims, each with its evidence and the conditions of this evidence. A verdict holds for "
    "these conditions only: for this backbone, these tasks and this number of seeds.",
    "Differences of scores are in points with their 95 % interval: means over the named tasks, paired by "
    "example. *better* and *worse* mean p < 0.05 after Holm's correction, otherwise it is a *tie*. The "
    "intervals are not corrected, so that of a tie may exclude 0. A tie does not prove that two methods are "
    "equal: the interval shows how much they may differ. With *one seed* there is no verdict on a difference:"
    " the interval is over examples alone, and another seed may reverse it. The last sentence of the "
    "evidence gives the verdicts with other selections of the epoch.",
)


def claim_rows(
    sparse: pd.DataFrame,
    xpeft: pd.DataFrame,
    certificates: Sequence[Certificate],
    counted: Sequence[Measurement],
    written: Sequence[Measurement],
    xpeft_bytes: Sequence[Measurement],
    alternatives: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
) -> pd.DataFrame:
    """Return one row per claim and scale: ``claim``, ``verdict``, ``evidence`` and ``scale``.

    Args:
        sparse: of `gluelamp.reporting.tables.sparse_masks.sparse_rows`.
        xpeft: of `gluelamp.reporting.tables.xpeft.xpeft_rows`.
        certificates: all.
        counted: measurements of kind ``parameters``.
        written: measurements of kind ``storage``.
        xpeft_bytes: measurements of kind ``xpeft_bytes``.
        alternatives: `sparse` and `xpeft` of the same runs by another selection of the epoch, such as
            ``"last"``.
    """
    claims = [
        *_with_alternatives(mask_claims, sparse, {name: masks for name, (masks, _) in alternatives.items()}),
        storage_claim(counted, written),
        *latency_claims(certificates),
        *_with_alternatives(accuracy_claims, xpeft, {name: rows for name, (_, rows) in alternatives.items()}),
        bytes_claim(xpeft_bytes),
    ]
    return pd.DataFrame([vars(claim) for claim in claims])[["claim", "verdict", "evidence", "scale"]]


def claims_page(rows: pd.DataFrame) -> Page:
    """Return the page of `claim_rows`."""
    lines = [
        [Text(row["claim"]), Text(row["verdict"], bold=True), Text(row["evidence"]), Text(row["scale"])]
        for row in rows.to_dict("records")
    ]
    used = set(rows["verdict"])
    notes = [f"*{verdict}*: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in used]
    return Page("claims", "Claims and verdicts", _READING, rows, [Table("", texts(*rows), lines, notes)])


def _with_alternatives(
    evaluate: Callable[[pd.DataFrame], Iterable[Claim]],
    rows: pd.DataFrame,
    alternatives: Mapping[str, pd.DataFrame],
) -> Iterator[Claim]:
    """Yield the claims on rows, each with the verdicts on the rows of other selections of the epoch."""
    # The claims of all selections are in the same order, since they are on the same runs.
    others = [[one.verdict for one in evaluate(_without_sample(other))] for other in alternatives.values()]
    for claim, *verdicts in zip(evaluate(_without_sample(rows)), *others, strict=True):
        others_text = [
            f"by the {SELECTIONS[name]}: {verdict}"
            for name, verdict in zip(alternatives, verdicts, strict=True)
        ]
        note = (
            f" {'; '.join(others_text).capitalize()}."
            if others_text and claim.verdict != NOT_MEASURED
            else ""
        )
        yield replace(claim, evidence=claim.evidence + note)


def _without_sample(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are evidence on GLUE: the sample is synthetic."""
    return rows[~rows["data"].str.startswith(SAMPLE)] if len(rows) else rows
