"""The papers' claims, one file per paper, and their table with evidence and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from gluelamp.records import Certificate, Measurement
from gluelamp.reporting.claims.claim import INCONCLUSIVE, NOT_MEASURED, VERDICTS, Claim
from gluelamp.reporting.claims.pafi_hiwi import latency_claims, mask_claims, storage_claim
from gluelamp.reporting.claims.xpeft import accuracy_claims, bytes_claim
from gluelamp.reporting.labels import HEADS, SELECTIONS
from gluelamp.reporting.rendering import Page, Table, Text, texts
from gluelamp.reporting.scores import SAMPLE
from gluelamp.reporting.statistics import ROC_AUC

__all__ = ["Claim", "claim_rows", "claims_page"]

COLUMNS = ["claim", "verdict", "evidence", "sensitivity", "scale"]
_ALTERNATIVES = {name: f"by the {title}" for name, title in SELECTIONS.items()} | {
    ROC_AUC: "by ROC AUC after the last epoch"
}
_READING = (
    "The papers' claims, each with its evidence and the conditions of this evidence. A verdict holds for "
    "these conditions only: for this backbone, these tasks and this number of seeds.",
    "Differences of scores are in points with their 95 % interval: means over the named tasks, paired by "
    "example. *better* and *worse* mean p < 0.05 after Holm's correction, otherwise it is a *tie*. The "
    "intervals are not corrected, so that of a tie may exclude 0. A tie does not prove that two methods are "
    "equal: the interval shows how much they may differ. With *one seed* there is no verdict on a difference:"
    " the interval is over examples alone, and another seed may reverse it.",
    "*Sensitivity* has the verdicts by other selections of the epoch, by ROC AUC in place of the metric of "
    "each task with two classes, and with the other task head. A *collapsed* run predicts one class on at "
    "least 99 % of the rows: the threshold of the head decides its Matthews correlation or accuracy. No "
    "verdict depends on such runs alone: if a compared mean includes some, and ROC AUC gives another "
    "verdict, the claim is *inconclusive*.",
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
    """Return one row per claim and scale: the columns `COLUMNS`.

    Args:
        sparse: of `gluelamp.reporting.tables.sparse_masks.sparse_rows`.
        xpeft: of `gluelamp.reporting.tables.xpeft.xpeft_rows`.
        certificates: all.
        counted: measurements of kind ``parameters``.
        written: measurements of kind ``storage``.
        xpeft_bytes: measurements of kind ``xpeft_bytes``.
        alternatives: `sparse` and `xpeft` of the same runs by another selection of the epoch, such as
            ``"last"``, or in the metric `ROC_AUC`.
    """
    claims = [
        *_with_alternatives(mask_claims, sparse, {name: masks for name, (masks, _) in alternatives.items()}),
        storage_claim(counted, written),
        *latency_claims(certificates),
        *_with_alternatives(accuracy_claims, xpeft, {name: rows for name, (_, rows) in alternatives.items()}),
        bytes_claim(xpeft_bytes),
    ]
    return pd.DataFrame([vars(claim) for claim in claims])[COLUMNS]


def claims_page(rows: pd.DataFrame, notes: Sequence[str] = ()) -> Page:
    """Return the page of `claim_rows`.

    Args:
        rows: of `claim_rows`.
        notes: on the scores on which the claims rest.
    """
    lines = [
        [Text(row[column], bold=column == "verdict") for column in COLUMNS] for row in rows.to_dict("records")
    ]
    used = set(rows["verdict"])
    verdicts = [f"*{verdict}*: {meaning}" for verdict, meaning in VERDICTS.items() if verdict in used]
    table = Table("", texts(*COLUMNS), lines, [*verdicts, *notes])
    return Page("claims", "Claims and verdicts", _READING, rows, [table])


def _with_alternatives(
    evaluate: Callable[[pd.DataFrame], Iterable[Claim]],
    rows: pd.DataFrame,
    alternatives: Mapping[str, pd.DataFrame],
) -> Iterator[Claim]:
    """Yield the claims on rows, with the verdicts by other selections and metrics and with other heads."""
    found = list(evaluate(_without_sample(rows)))
    # The claims of all alternatives are in the same order, since they are on the same runs.
    others = {
        name: [one.verdict for one in evaluate(_without_sample(other))]
        for name, other in alternatives.items()
    }
    # A threshold that a few more steps would move must not decide. ROC AUC does not depend on it.
    claims = [
        replace(one, verdict=INCONCLUSIVE) if one.collapsed and one.verdict != by_auc else one
        for one, by_auc in zip(found, others.get(ROC_AUC, [""] * len(found)), strict=True)
    ]
    for place, claim in enumerate(claims):
        verdicts = {_ALTERNATIVES[name]: by_name[place] for name, by_name in others.items()}
        same = [one for one in claims if (one.claim, one.data) == (claim.claim, claim.data)]
        verdicts |= {f"with the {HEADS[one.head]}": one.verdict for one in same if one.head != claim.head}
        if claim != found[place]:
            verdicts["without regard to collapsed runs"] = found[place].verdict
        yield (
            claim
            if claim.verdict == NOT_MEASURED
            else replace(claim, sensitivity=_sensitivity(claim.verdict, verdicts))
        )


def _sensitivity(verdict: str, verdicts: Mapping[str, str]) -> str:
    text = "; ".join(f"{condition}: {other}" for condition, other in verdicts.items())
    depends = " The verdict depends on these choices." if set(verdicts.values()) - {verdict} else ""
    return f"{text[:1].upper()}{text[1:]}{'.' * bool(text)}{depends}"


def _without_sample(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are evidence on GLUE: the sample is synthetic."""
    return rows[~rows["data"].str.startswith(SAMPLE)] if len(rows) else rows
