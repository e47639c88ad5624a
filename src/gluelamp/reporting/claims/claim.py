"""What is said of a claim, in words that mean the same in every line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

SUPPORTED = "supported"
PARTLY = "partly supported"
MIXED = "mixed"
UNDECIDED = "not told apart"
PARTLY_NOT = "partly contradicted"
CONTRADICTED = "contradicted"
NOT_MEASURED = "not measured"
VERDICTS = {
    SUPPORTED: "what was measured agrees with the claim",
    PARTLY: "a part of it agrees, and no part disagrees",
    MIXED: "a part of it agrees, and another disagrees",
    UNDECIDED: "what was measured leaves it open",
    PARTLY_NOT: "a part of it disagrees, and no part agrees",
    CONTRADICTED: "what was measured disagrees",
    NOT_MEASURED: "there are no records for it",
}
ONE_SEED_READING = "One seed cannot tell methods apart."


@dataclass(frozen=True)
class Claim:
    """One line of the table.

    Args:
        claim: in the paper's sense, shortened.
        scale: on what it was tested.
        verdict: one of :data:`VERDICTS`.
        evidence: the numbers, in sentences.
    """

    claim: str
    scale: str
    verdict: str
    evidence: str


def superiority(outcomes: Collection[str], is_whole: bool) -> str:
    """Return the verdict on "it beats them" from one outcome for each of them.

    Args:
        outcomes: of :func:`gluelamp.reporting.paired.outcome`, for what is claimed to be better.
        is_whole: whether there is an outcome for all of them.
    """
    found = set(outcomes)
    if not found:
        return NOT_MEASURED
    if {"better", "worse"} <= found:
        return MIXED
    if "worse" in found:
        return CONTRADICTED if found == {"worse"} and is_whole else PARTLY_NOT
    if "better" in found:
        return SUPPORTED if found == {"better"} and is_whole else PARTLY
    return UNDECIDED
