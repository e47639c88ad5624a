"""HiWi's claim: what it stores is 0.03 % of full fine-tuning, whatever its bottleneck."""

from __future__ import annotations

from collections.abc import Sequence

from gluelamp.records import Measurement
from gluelamp.reporting.claims.claim import CONTRADICTED, NOT_MEASURED, PARTLY, SUPPORTED, Claim
from gluelamp.reporting.formats import count, share

BACKBONE = "roberta_large"
STORAGE_CLAIM = "HiWi stores 0.03 % of full fine-tuning, whatever its bottleneck"
_PERCENT = 0.03


def hiwi_claim(counted: Sequence[Measurement], written: Sequence[Measurement]) -> Claim:
    """Judge HiWi on the biases by its stored values, and show the bytes of its files where they were written.

    Args:
        counted: of kind ``parameters``.
        written: of kind ``storage``.
    """
    mine = [one for one in counted if _is_hiwi(one)]
    if not mine:
        return Claim(STORAGE_CLAIM, BACKBONE, NOT_MEASURED, "HiWi was not counted on this backbone.")
    row = mine[0].rows[0]
    backbone = 100 * row["trained"] / row["trained_pct"]
    percent = 100 * row["stored_values"] / backbone
    bottlenecks = sorted({one.config["bottleneck"] for one in mine})
    same = len({one.rows[0]["stored_values"] for one in mine}) == 1
    whole = 100 * (row["stored_values"] + row["head"]) / backbone
    evidence = [
        f"{count(row['stored_values'])} values, {count(row['stored_bytes'])} bytes in fp32: {share(percent)} "
        f"% of the encoder's {count(backbone)} values, {share(whole)} % with the task head",
        f"{'The same' if same else 'Not the same'} at bottlenecks {', '.join(map(str, bottlenecks))}"
        if len(bottlenecks) > 1
        else f"One bottleneck counted: {bottlenecks[0]}",
        *(_file(one) for one in written if _is_hiwi(one)),
    ]
    verdict = _verdict(round(percent, 2) <= _PERCENT and same, len(bottlenecks) > 1)
    return Claim(STORAGE_CLAIM, f"{BACKBONE}, random weights", verdict, f"{'. '.join(evidence)}.")


def _is_hiwi(one: Measurement) -> bool:
    target = (one.config.get("target"), one.config.get("layers"))
    return (one.backbone, one.method, *target) == (BACKBONE, "hiwi", "bias", "both")


def _file(one: Measurement) -> str:
    row = one.rows[0]
    return (
        f"Written at bottleneck {one.config['bottleneck']}: a file of {count(row['task_file_bytes'])} bytes, "
        f"of which {count(row['head_bytes'])} are the head's"
    )


def _verdict(agrees: bool, any_bottleneck: bool) -> str:
    if not agrees:
        return CONTRADICTED
    return SUPPORTED if any_bottleneck else PARTLY
