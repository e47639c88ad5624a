"""The claim of both: a merged model is as fast as the bare backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gluelamp.records import Certificate
from gluelamp.reporting.claims.claim import CONTRADICTED, NOT_MEASURED, SUPPORTED, UNDECIDED, Claim

NAMES = {"pafi": "PaFi", "hiwi": "HiWi", "hiwi_weight": "HiWi on the weights"}
_PARTS = ("modules", "tensors", "operators")
TOLERANCE = 1e-5
"""Equal to `MERGE_TOLERANCE` of `gluelamp.measurement.paired_timing`, which imports torch."""


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
    tried = f" after {len(one.attempts)} attempts" if len(one.attempts) > 1 else ""
    return Claim(claim, _scale(one), _verdict(one), f"Certificate {one.verdict}{tried}: {time}. {reasons}")


def _verdict(one: Certificate) -> str:
    if one.verdict == "PASS":
        return SUPPORTED
    # where a second bare copy misses 1.00 too, the machine does it
    is_slower = one.ratio["low"] > 1 and one.control["low"] <= 1 <= one.control["high"]
    return CONTRADICTED if is_slower or not _is_same(one.structure) else UNDECIDED


def _is_same(structure: Mapping[str, Any]) -> bool:
    flops, outputs = structure["flops"], structure["outputs"]
    is_same_method = outputs["changed_by_merging"] <= TOLERANCE * outputs["largest"]
    differs = any(structure[part]["first_difference"] for part in _PARTS)
    return is_same_method and not differs and flops["base"] == flops["candidate"]


def _scale(one: Certificate) -> str:
    machine, protocol = one.machine, one.protocol
    where = f"{machine['type']} ({machine['name']}), {machine['dtype']}, {machine['threads']} threads"
    return f"{one.backbone}, random weights, batch {protocol['batch']} x {protocol['length']} tokens, {where}"
