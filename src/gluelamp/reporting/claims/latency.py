"""The latency claim of PaFi and HiWi: a merged model is as fast as the bare backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gluelamp.records import Certificate
from gluelamp.records.measurements import MERGE_TOLERANCE
from gluelamp.reporting.claims.claim import CONTRADICTED, INCONCLUSIVE, NOT_MEASURED, SUPPORTED, Claim

NAMES = {"pafi": "PaFi", "hiwi": "HiWi", "hiwi_weight": "HiWi on the weights"}
_PARTS = ("modules", "tensors", "operators")


def latency_claims(certificates: Sequence[Certificate]) -> Iterator[Claim]:
    """Evaluate the certificates of merged models.

    Args:
        certificates: all; those of other methods, and of unmerged models, are skipped.
    """
    for method, name in NAMES.items():
        claim = f"{name} adds no inference latency"
        merged = [one for one in certificates if one.method == method and one.state == "merged"]
        yield from (_claim(claim, one) for one in merged)
        if not merged:
            yield Claim(claim, "", NOT_MEASURED, "There is no certificate.")


def _claim(claim: str, one: Certificate) -> Claim:
    machine, protocol = one.machine, one.protocol
    estimate, low, high = (f"{one.ratio[name]:.3f}" for name in ("estimate", "low", "high"))
    time = f"ratio to the time of the bare backbone {estimate} [{low}, {high}]"
    reasons = " ".join(one.reasons) or "Same modules, shapes, operators and FLOPs as the bare backbone."
    attempts = f" after {len(one.attempts)} attempts" if len(one.attempts) > 1 else ""
    evidence = f"Certificate {one.verdict}{attempts}: {time}. {reasons}"
    device = f"{machine['type']} ({machine['name']}), {machine['dtype']}, {machine['threads']} threads"
    batch = f"batch {protocol['batch']} x {protocol['length']} tokens"
    return Claim(claim, f"{one.backbone}, random weights, {batch}, {device}", _verdict(one), evidence)


def _verdict(one: Certificate) -> str:
    if one.verdict == "PASS":
        return SUPPORTED
    # If the interval of a second bare copy does not contain 1.00 either, the cause is the machine
    is_slower = one.ratio["low"] > 1 and one.control["low"] <= 1 <= one.control["high"]
    return CONTRADICTED if is_slower or not _is_same_model(one.structure) else INCONCLUSIVE


def _is_same_model(structure: Mapping[str, Any]) -> bool:
    flops, outputs = structure["flops"], structure["outputs"]
    # Written so that outputs of NaN are not the same.
    has_same_outputs = outputs["changed_by_merging"] <= MERGE_TOLERANCE * outputs["largest"]
    differs = any(structure[part]["first_difference"] for part in _PARTS)
    return has_same_outputs and not differs and flops["base"] == flops["candidate"]
