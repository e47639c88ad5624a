"""The claim of both: a merged model is as fast as the bare backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gluelamp.records import Certificate
from gluelamp.reporting.claims.claim import CONTRADICTED, NOT_MEASURED, SUPPORTED, Claim

NAMES = {"pafi": "PaFi", "hiwi": "HiWi", "hiwi_weight": "HiWi on the weights"}


def latency_claims(certificates: Sequence[Certificate]) -> Iterator[Claim]:
    """Judge by the certificates of merged models.

    Args:
        certificates: all; those of other methods, and of unmerged models, are passed over.
    """
    for method, name in NAMES.items():
        claim = f"{name} adds no inference latency"
        mine = [one for one in certificates if one.method == method and one.state == "merged"]
        yield from (_judge(claim, one) for one in mine)
        if not mine:
            yield Claim(claim, "", NOT_MEASURED, "There is no certificate.")


def _judge(claim: str, one: Certificate) -> Claim:
    ratio = one.ratio
    time = f"time over the bare backbone's {ratio['estimate']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    reasons = " ".join(one.reasons) or "Same modules, shapes, operators and FLOPs as the bare backbone."
    verdict = SUPPORTED if one.verdict == "PASS" else CONTRADICTED
    return Claim(claim, _scale(one), verdict, f"Certificate {one.verdict}: {time}. {reasons}")


def _scale(one: Certificate) -> str:
    machine, protocol = one.machine, one.protocol
    where = f"{machine['type']} ({machine['name']}), {machine['dtype']}, {machine['threads']} threads"
    return f"{one.backbone}, random weights, batch {protocol['batch']} x {protocol['length']} tokens, {where}"
